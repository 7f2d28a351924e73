"""What trained models are measured by: bits per byte, infilled lines, a linear probe."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import PreTrainedModel

from stemma.errors import DataUnavailable
from stemma.models.scoring import evaluating
from stemma.papers.codegen2.attention import hidden_of, logits_of, token_losses
from stemma.papers.codegen2.data import Corpus, Hole, Rows, Specials

Format = Literal["left only", "suffix first", "masked"]
FORMATS: tuple[Format, ...] = ("left only", "suffix first", "masked")
"""How a hole is put to a model: what stands before it; what follows it, then what stands before
it; or span corruption's format. The first two are all that a causal model can be given."""

_BATCH = 64
_FOLDS = 5  # of the probe


class Questions(NamedTuple):
    """Sequences with the part of each that is scored.

    Attributes:
        ids: tokens, shape (n, length), padded behind.
        first: first scored position of each, shape (n,).
        last: position after the last scored one, shape (n,).
    """

    ids: Rows
    first: NDArray[np.int64]
    last: NDArray[np.int64]


def whole_rows(rows: Rows, first: int = 1) -> Questions:
    """Score the tokens of rows (n, length) from ``first`` on."""
    n, length = rows.shape
    return Questions(rows, np.full(n, first), np.full(n, length))


def ask(holes: Sequence[Hole], form: Format, specials: Specials) -> Questions:
    """Put holes to a model; scored are the tokens of the missing line alone."""
    asked = [[*_before(hole, form, specials), *hole.middle] for hole in holes]
    last = np.array([len(ids) for ids in asked])
    ids = np.full((len(asked), last.max()), specials.end)
    for row, tokens in zip(ids, asked, strict=True):
        row[: len(tokens)] = tokens
    return Questions(ids, last - [len(hole.middle) for hole in holes], last)


def _before(hole: Hole, form: Format, specials: Specials) -> list[int]:
    if form == "left only":
        return hole.before
    if form == "suffix first":
        return [*hole.after, *hole.before]
    mask = specials.masks[0]
    return [*hole.before, mask, *hole.after, specials.end, specials.separator, mask]


def losses_of(model: PreTrainedModel, questions: Questions, prefix: bool) -> NDArray[np.float64]:
    """Return -log p of each token in nats, shape (n, length - 1), 0 where it is not scored.

    Args:
        model: its device is used.
        questions: what is scored.
        prefix: attention is bidirectional over what stands before the scored part.
    """
    ids = torch.from_numpy(questions.ids).to(model.device)
    prefixes = torch.from_numpy(questions.first if prefix else 0 * questions.first).to(model.device)
    with evaluating(model):
        parts = [
            token_losses(model, ids[i : i + _BATCH], prefixes[i : i + _BATCH]).double().cpu()
            for i in range(0, len(ids), _BATCH)
        ]
    losses: NDArray[np.float64] = torch.cat(parts).numpy()
    return losses * scored(questions)[:, 1:]


def scored(questions: Questions) -> NDArray[np.bool_]:
    """Tell which tokens are scored, shape (n, length)."""
    place = np.arange(questions.ids.shape[1])
    inside: NDArray[np.bool_] = (place >= questions.first[:, None]) & (
        place < questions.last[:, None]
    )
    return inside


def bits_per_byte(
    model: PreTrainedModel, questions: Questions, widths: NDArray[np.int64], prefix: bool
) -> float:
    """Return bits per byte over all scored tokens; arguments as ``losses_of``.

    Args:
        model: a language model.
        questions: what is scored.
        widths: bytes of each token, shape (vocab,).
        prefix: attention is bidirectional over what stands before the scored part.
    """
    nats = losses_of(model, questions, prefix).sum()
    return float(nats / math.log(2) / widths[questions.ids[scored(questions)]].sum())


def infill(
    model: PreTrainedModel, corpus: Corpus, holes: Sequence[Hole], form: Format, prefix: bool
) -> list[str]:
    """Return the lines that greedy decoding puts into the holes, each up to its line break.

    Args:
        model: its device is used.
        corpus: tokenizer and special tokens.
        holes: lines that were cut out.
        form: how they are put to the model.
        prefix: attention is bidirectional over what stands before the hole's answer.
    """
    questions = ask(holes, form, corpus.specials)
    ids = torch.from_numpy(questions.ids)
    longest = max(len(hole.middle) for hole in holes)
    ids = torch.cat([ids, torch.full((len(ids), longest), corpus.specials.end)], dim=1)
    cursor = torch.from_numpy(questions.first)
    ids[torch.arange(ids.shape[1]) >= cursor[:, None]] = corpus.specials.end  # hide the line
    with evaluating(model):
        ids = _continue(model, ids, cursor, longest, cursor if prefix else torch.zeros_like(cursor))
    answers = [row[start:].tolist() for row, start in zip(ids, cursor.tolist(), strict=True)]
    return [_first_line(corpus, answer) for answer in answers]


def _continue(
    model: PreTrainedModel,
    ids: torch.Tensor,
    cursor: torch.Tensor,
    count: int,
    prefix: torch.Tensor,
) -> torch.Tensor:
    rows = torch.arange(len(ids))
    for step in range(count):
        seen = ids[:, : int(cursor.max()) + step].to(model.device)
        logits = logits_of(model, seen, prefix.to(model.device)).cpu()
        ids[rows, cursor + step] = logits[rows, cursor + step - 1].argmax(dim=-1)
    return ids


def _first_line(corpus: Corpus, ids: list[int]) -> str:
    stops = {corpus.specials.end_of_mask, corpus.specials.end}
    stop = next((i for i, token in enumerate(ids) if token in stops), len(ids))
    return str(corpus.tokenizer.decode(ids[:stop])).split("\n")[0]


def exact_matches(lines: Sequence[str], corpus: Corpus, holes: Sequence[Hole]) -> float:
    """Return the share of the lines that are the missing ones, blanks at the end apart."""
    truths = [str(corpus.tokenizer.decode(hole.middle)) for hole in holes]
    same = [line.rstrip() == truth.rstrip() for line, truth in zip(lines, truths, strict=True)]
    return float(np.mean(same))


def probe_rows(corpus: Corpus, classes: int, each: int) -> tuple[Rows, NDArray[np.str_]]:
    """Return held-out rows of code of the ``classes`` modules with most of them, and the modules.

    At most ``each`` rows of a module, evenly spaced, and at least one for each fold of the probe.

    Raises:
        DataUnavailable: fewer than two modules have enough rows.
    """
    names, counts = np.unique(corpus.modules, return_counts=True)
    largest = np.argsort(-counts, kind="stable")[:classes]
    chosen = np.sort(names[largest[counts[largest] >= _FOLDS]])
    if len(chosen) < 2:
        raise DataUnavailable("the probe needs two modules of held-out code: raise `kilobytes`")
    places = []
    for name in chosen:
        own = np.flatnonzero(corpus.modules == name)
        places.append(own[np.linspace(0, len(own) - 1, min(each, len(own))).astype(int)])
    place = np.concatenate(places)
    return corpus.held_out["code"][place], corpus.modules[place]


def mean_states(model: PreTrainedModel, rows: Rows, prefix: bool) -> NDArray[np.float64]:
    """Return last hidden states averaged over each row, shape (n, width).

    Args:
        model: its device is used.
        rows: tokens, shape (n, length).
        prefix: attention is bidirectional over the whole row.
    """
    ids = torch.from_numpy(rows).to(model.device)
    reach = torch.full((len(ids),), ids.shape[1] if prefix else 0, device=model.device)
    with evaluating(model):
        parts = [
            hidden_of(model, ids[i : i + _BATCH], reach[i : i + _BATCH]).mean(dim=1).double().cpu()
            for i in range(0, len(ids), _BATCH)
        ]
    states: NDArray[np.float64] = torch.cat(parts).numpy()
    return states


def probe_accuracy(features: NDArray[np.float64], labels: NDArray[np.str_], seed: int) -> float:
    """Return the cross-validated accuracy of a logistic regression on features (n, d).

    Five folds, stratified; ``seed`` decides them.
    """
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    return float(cross_val_score(probe, features, labels, cv=folds).mean())
