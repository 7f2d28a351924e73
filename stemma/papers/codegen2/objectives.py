"""Next-token prediction, span corruption within a file, and their mixture, as rows of examples.

The format of span corruption is that of CodeGen2's model card.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemma.papers.codegen2.data import Rows, Specials

EXTRA = 2
"""Columns behind the tokens of an example: the prefix's length and the first supervised position.

Attention among the first ``prefix`` tokens is bidirectional; the loss counts tokens from ``first``.
"""


class Span(NamedTuple):
    """Tokens ``start`` to ``stop`` (exclusive) of a row."""

    start: int
    stop: int


class Corrupted(NamedTuple):
    """A row with spans replaced by masks, followed by the spans.

    Attributes:
        tokens: masked row, end of file, ``<sep>``, and for each span its mask, its tokens and
            ``<eom>``.
        boundary: position of the first token after ``<sep>``.
    """

    tokens: NDArray[np.int64]
    boundary: int


@dataclass(frozen=True)
class SpanLaw:
    """How spans are drawn.

    Attributes:
        ratio_low: least share of a row that is masked.
        ratio_high: greatest share; the share is uniform between them.
        mean_length: tokens of a span on average.
    """

    ratio_low: float
    ratio_high: float
    mean_length: float

    def most_spans(self, ctx: int) -> int:
        """Return how many spans a row of ``ctx`` tokens can have."""
        return max(1, round(self.ratio_high * ctx / self.mean_length))


@dataclass(frozen=True)
class Objective:
    """What a model is trained to do.

    Attributes:
        p_span: share of the examples with span corruption; the rest is next-token prediction.
        prefix: attention is bidirectional within a prefix (prefix-LM), and only what follows it
            has a loss; otherwise the model is a causal decoder and every token has a loss.
        targets_only: with causal attention, corrupted rows have a loss on the spans alone.
    """

    p_span: float
    prefix: bool
    targets_only: bool = False


def draw_spans(law: SpanLaw, ctx: int, rng: np.random.Generator) -> tuple[int, list[Span]]:
    """Draw spans such that the corrupted row has ``ctx`` tokens.

    k spans cost 3k + 2 special tokens, so that a row of n = ctx - 3k - 2 tokens is corrupted.
    Lengths of spans and of the gaps between them are uniform over all ways to cut their sums.

    Returns:
        n, and the spans in order, which neither overlap nor touch.
    """
    ratio = rng.uniform(law.ratio_low, law.ratio_high)
    k = max(1, round(ratio * ctx / law.mean_length))
    n = ctx - 3 * k - 2
    masked = min(max(k, round(ratio * n)), n - (k - 1))
    lengths = _cut(masked, k, rng)
    # k - 1 inner gaps have a token at least, the two outer ones may be empty.
    gaps = _cut(n - masked + 2, k + 1, rng) - np.eye(k + 1, dtype=int)[[0, k]].sum(axis=0)
    stops = np.cumsum(gaps[:k] + lengths)
    return n, [
        Span(int(stop - length), int(stop)) for stop, length in zip(stops, lengths, strict=True)
    ]


def _cut(total: int, parts: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Cut ``total`` into positive parts, all ways being equally likely."""
    cuts = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def corrupt(row: NDArray[np.int64], spans: Sequence[Span], specials: Specials) -> Corrupted:
    """Replace the spans of one file's tokens by masks and append them.

    Raises:
        ValueError: more spans than masks, or spans that overlap or leave the row.
    """
    edges = [0, *(edge for span in spans for edge in span), len(row)]
    if len(spans) > len(specials.masks) or edges != sorted(edges):
        raise ValueError(f"{len(spans)} spans with edges {edges} do not fit")
    context: list[int] = []
    targets: list[int] = []
    done = 0
    for mask, span in zip(specials.masks, spans, strict=False):
        context += [*row[done : span.start].tolist(), mask]
        targets += [mask, *row[span.start : span.stop].tolist(), specials.end_of_mask]
        done = span.stop
    context += [*row[done:].tolist(), specials.end, specials.separator]
    return Corrupted(np.array(context + targets, dtype=np.int64), len(context))


def restore(tokens: NDArray[np.int64], specials: Specials) -> NDArray[np.int64]:
    """Return the row that ``corrupt`` was given."""
    ids = tokens.tolist()
    boundary = ids.index(specials.separator) + 1
    spans: dict[int, list[int]] = {}
    mask = -1
    for token in ids[boundary:]:
        if token in specials.masks:
            mask = token
            spans[mask] = []
        elif token != specials.end_of_mask:
            spans[mask].append(token)
    row = [t for token in ids[: boundary - 2] for t in spans.get(token, [token])]
    return np.array(row, dtype=np.int64)


def choose_span_rows(n: int, p_span: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose round(p_span n) of n examples for span corruption, in random places, shape (n,)."""
    chosen = np.zeros(n, dtype=bool)
    chosen[rng.permutation(n)[: round(p_span * n)]] = True
    return chosen


def make_examples(
    rows: Rows,
    corrupted: NDArray[np.bool_],
    objective: Objective,
    law: SpanLaw,
    specials: Specials,
    rng: np.random.Generator,
) -> Rows:
    """Turn rows into examples: tokens, prefix, first supervised position.

    The same generator gives the same spans whatever the attention.

    Args:
        rows: tokens of one file each, shape (n, ctx).
        corrupted: which rows get span corruption, shape (n,); they lose their last tokens.
        objective: attention and loss.
        law: how spans are drawn.
        specials: the special tokens.
        rng: decides spans and prefixes.

    Returns:
        Shape (n, ctx + 2).
    """
    ctx = rows.shape[1]
    examples = np.empty((len(rows), ctx + EXTRA), dtype=np.int64)
    prefixes = rng.integers(0, ctx, len(rows))
    for example, row, is_corrupted, prefix in zip(examples, rows, corrupted, prefixes, strict=True):
        start = int(prefix)
        example[:ctx] = row
        if is_corrupted:
            n, spans = draw_spans(law, ctx, rng)
            example[:ctx], start = corrupt(row[:n], spans, specials)
        supervised = start if objective.prefix or (is_corrupted and objective.targets_only) else 0
        example[ctx:] = start if objective.prefix else 0, max(1, supervised)
    return examples


def supervised_tokens(examples: Rows) -> int:
    """Return how many tokens of the examples have a loss."""
    ctx = examples.shape[1] - EXTRA
    return int((ctx - examples[:, -1]).sum())
