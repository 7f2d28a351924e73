"""From a model and the items to the tables that claims are judged on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from stemma.papers.semantics_tracing import concepts, inference
from stemma.papers.semantics_tracing import interventions as iv
from stemma.papers.semantics_tracing import items as it
from stemma.papers.semantics_tracing.items import Item, Noun, Question
from stemma.papers.semantics_tracing.subject import Reading, Subject

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

FEWEST = 15
"""Fewer wrong, or fewer right, items than this say nothing about what predicts errors."""


@dataclass(frozen=True)
class Index:
    """Where each item's noun and sense stand among G nouns.

    Attributes:
        noun: number of the item's noun, shape (n,).
        side: which of the noun's two senses is the context's, shape (n,).
        words: numbers of the words of each sense's list, shape (G, 2, words).
        concepts: numbers of the concepts, shape (G, 2).
        word_names: the words by number.
        concept_names: the concepts by number.
    """

    noun: Codes
    side: Codes
    words: Codes
    concepts: Codes
    word_names: tuple[str, ...]
    concept_names: tuple[str, ...]


def make_index(nouns: Sequence[Noun], items: Sequence[Item] | Sequence[Question]) -> Index:
    """Number nouns, words and concepts."""
    names = [noun.noun for noun in nouns]
    words = it.all_words(nouns)
    senses = [noun.senses for noun in nouns]
    known = sorted({sense.concept for pair in senses for sense in pair})
    return Index(
        noun=np.array([names.index(item.noun) for item in items]),
        side=np.array([senses[names.index(x.noun)].index(x.gold) for x in items]),
        words=np.array([[[words.index(w) for w in s.words] for s in pair] for pair in senses]),
        concepts=np.array([[known.index(s.concept) for s in pair] for pair in senses]),
        word_names=tuple(words),
        concept_names=tuple(known),
    )


def chosen(table: Codes, index: Index, nouns: Codes | None = None) -> Codes:
    """Return each item's entry of a table (G, 2, ...) for its own sense, then for the other.

    Shape (n, 2, ...). ``nouns`` (G,) and a flip folded into it (see ``relabel``) permute.
    """
    nouns = np.arange(len(table)) * 2 if nouns is None else nouns
    code = nouns[index.noun]
    own = (code + index.side) % 2
    return np.stack([table[code // 2, own], table[code // 2, 1 - own]], axis=1)


def relabel(rng: np.random.Generator, nouns: int) -> Codes:
    """Draw whose lists each noun gets: 2 * noun + (1 if its two senses are exchanged)."""
    return np.asarray(2 * rng.permutation(nouns) + rng.integers(0, 2, nouns))


@dataclass(frozen=True)
class Traces:
    """States of the items: at the answer, at the context's word and at the noun, (n, L, width)."""

    answer: Tensor
    context: Tensor
    noun: Tensor
    reading: Reading


def read_items(subject: Subject, items: Sequence[Item]) -> Traces:
    """Run the items' prompts; the noun's last mention counts, and the mean over its tokens."""
    spans = [
        (
            [len(subject.encode(item.prompt)) - 1],
            subject.span(item.prompt, item.gold.context_word),
            subject.span(item.prompt, item.noun, last=True),
        )
        for item in items
    ]
    reading = subject.read([item.prompt for item in items], spans)
    answer, context, noun = reading.states.unbind(dim=2)
    return Traces(answer, context, noun, reading)


def concept_states(subject: Subject, names: Sequence[str], *, carried: bool) -> Tensor:
    """Return the states of concepts that are in no prompt, shape (concepts, L, width).

    As in the authors' code each concept is run alone. ``carried`` runs "This is a CONCEPT" instead,
    so that its token is not the first one, whose state is much the same for every word.
    """
    texts = [f"This is {it.with_article(name)}" if carried else f" {name}" for name in names]
    lengths = [len(subject.encode(text)) for text in texts]
    sizes = [len(subject.word_tokens(name)) for name in names]
    spans = [[list(range(n - k, n))] for n, k in zip(lengths, sizes, strict=True)]
    return subject.read(texts, spans).states[:, :, 0]


@dataclass(frozen=True)
class PathStrengths:
    """What DSS is made of: |r| of context and noun (n, L), of noun and concept (n, L, concepts)."""

    context_noun: Array
    noun_concept: Array

    def dss(self, pairs: Codes, layer: int) -> Array:
        """Return the DSS of each item at a layer, for concepts (gold, other) of ``pairs`` (n, 2).

        The correct path is context, noun, gold concept; the incorrect one noun, other concept.
        """
        steps = np.take_along_axis(self.noun_concept[:, layer], pairs, axis=1)
        return concepts.dss(self.context_noun[:, layer] + steps[:, 0], steps[:, 1])


def path_strengths(traces: Traces, states: Tensor) -> PathStrengths:
    """Return the strengths of all steps of paths, given the concepts' states."""
    first = concepts.path_strength([traces.context, traces.noun])
    second = [concepts.path_strength([traces.noun, one.expand_as(traces.noun)]) for one in states]
    return PathStrengths(first, np.stack(second, axis=2))


def null_correlations(scores: Iterator[Array], index: Index, rates: Array) -> Array:
    """Return rank correlations with the groups' error rates of scores (n,) of permuted lists."""
    columns = [inference.group_means(score, index.noun) for score in scores]
    return inference.rank_correlations(np.stack(columns, axis=1), rates)


def permuted_dss(
    strengths: PathStrengths, index: Index, layer: int, draws: int, seed: int
) -> Iterator[Array]:
    """Yield DSS with concepts of randomly chosen other nouns."""
    rng = np.random.default_rng([seed, 1])
    for _ in range(draws):
        pairs = chosen(index.concepts, index, relabel(rng, len(index.concepts)))
        yield strengths.dss(pairs, layer)


def permuted_cas(
    affinity: Array, index: Index, variant: concepts.Variant, draws: int, seed: int
) -> Iterator[Array]:
    """Yield CAS with word lists of randomly chosen other nouns; affinity has shape (n, words)."""
    rng = np.random.default_rng([seed, 2])
    for _ in range(draws):
        lists = chosen(index.words, index, relabel(rng, len(index.words)))
        yield concepts.item_cas(affinity[:, None], lists, variant)[:, 0]


def calibrated_lens(subject: Subject, items: Sequence[Item], traces: Traces) -> Array:
    """Return the lens margins of all layers, calibrated as the answer is, shape (n, L)."""
    gold = [subject.token(item.gold.concept) for item in items]
    other = [subject.token(item.other.concept) for item in items]
    margins = concepts.lens_margins(
        traces.answer, gold, other, subject.unembedding, subject.final_norm
    )
    for template in {item.template for item in items}:
        empty = subject.answers(it.empty_prompts(template)).states[:, :, 0]
        with torch.inference_mode():
            mean = subject.final_norm(empty.to(subject.unembedding)).mean(dim=0)
        mine = [i for i, item in enumerate(items) if item.template == template]
        pairs = subject.unembedding[gold] - subject.unembedding[other]
        margins[mine] -= (pairs[mine] @ mean.T).double().cpu().numpy()
    return margins


def patch_rows(
    subject: Subject,
    items: Sequence[Item],
    biases: Sequence[float],
    layers: Sequence[int],
    seed: int,
) -> Iterator[pd.DataFrame]:
    """Yield, for each item, its margins after patching: a row a donor, site and layer.

    Columns: item, noun, donor (gold: told the gold concept; control: another noun's), site, layer,
    margin, donor_margin (both calibrated), changed (whether a logit moved).
    """
    rng = np.random.default_rng([seed, 3])
    names = sorted({sense.concept for item in items for sense in (item.gold, item.other)})
    for number, (item, bias) in enumerate(zip(items, biases, strict=True)):
        rest = [n for n in names if n not in (item.gold.concept, item.other.concept)]
        told = (item.gold.concept, rest[rng.integers(len(rest))])
        patched = iv.patch(subject, item, told, layers)
        keys = pd.MultiIndex.from_product(
            [("gold", "control"), iv.SITES, layers], names=["donor", "site", "layer"]
        )
        rows = pd.DataFrame(
            {"margin": patched.margins.ravel() - bias, "changed": patched.changed.ravel()}, keys
        ).reset_index()
        donors = dict(zip(("gold", "control"), patched.donors - bias, strict=True))
        yield rows.assign(item=number, noun=item.noun, donor_margin=rows.donor.map(donors))


def patched_commitments(patched: pd.DataFrame, site: str) -> pd.Series:
    """Return, by item that flips at all, the first tested layer after its last flip.

    One beyond the last layer if that one flips.
    """
    mine = patched[(patched.donor == "gold") & (patched.site == site)]
    layers = sorted(mine.layer.unique())
    after = dict(zip(layers, [*layers[1:], layers[-1] + 1], strict=True))
    last = mine[mine.margin > 0].groupby("item").layer.max()
    return last.map(after)


def score_rows(
    scores: dict[str, Array], answers: pd.DataFrame, index: Index
) -> Iterator[dict[str, object]]:
    """Yield, for each score (n,) that should be low for errors, how it relates to errors.

    Columns: score, rho (Spearman, groups), r (point-biserial, items), auc, given margin (partial
    rank correlation with error over items given the output margin).
    """
    error = answers.error.to_numpy(dtype=float)
    rates = inference.group_means(error, index.noun)
    for name, score in scores.items():
        grouped = inference.group_means(score, index.noun)
        yield {
            "score": name,
            "rho over nouns": inference.rank_correlations(grouped[:, None], rates)[0],
            "r over items": np.corrcoef(score, error)[0, 1],
            "AUC": inference.auc(-score, error > 0),
            "rho given margin": inference.partial_rank_correlation(
                score, error, answers.margin.to_numpy()
            ),
        }


def noun_correlation(column: str) -> Callable[[pd.DataFrame], float]:
    """Return the statistic: rank correlation over nouns of -mean(column) and the error rate."""

    def statistic(table: pd.DataFrame) -> float:
        means = table.groupby("noun")[[column, "error"]].mean()
        score = -means[[column]].to_numpy(dtype=float)
        return float(inference.rank_correlations(score, means.error.to_numpy(dtype=float))[0])

    return statistic


def spread(states: Tensor) -> dict[str, float]:
    """Return mean and deviation of |r| over all pairs of rows (rows, width)."""
    r = np.abs(np.corrcoef(states.double().numpy()))[np.triu_indices(len(states), 1)]
    return {"mean |r|": float(r.mean()), "sd": float(r.std())}


def noun_pairs(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """Return the mean of a column by noun (rows) in right (False) and wrong (True) items.

    Nouns without both kinds are left out.
    """
    means = table.pivot_table(index="noun", columns="error", values=value, aggfunc="mean")
    return means.reindex(columns=[False, True]).dropna()


def marker_table(curves: Array, lens: Array, answers: pd.DataFrame) -> pd.DataFrame:
    """Return each item's markers: of CAS (n, L), and where the lens (n, L) settles its answer."""
    marked = pd.DataFrame([concepts.markers(curve)._asdict() for curve in curves])
    settled = [concepts.settled_layer(row) for row in lens]
    return answers[["noun", "template", "gold", "error"]].join(marked).assign(settled=settled)
