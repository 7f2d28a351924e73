"""The two evaluations: held-out classes in context, trained classes in weights."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from stemma.papers.icl_data_properties.characters import Stimuli
from stemma.papers.icl_data_properties.sequences import (
    Ints,
    Regime,
    Sequences,
    draw_fewshot,
    draw_no_support,
)

COMMON = 10
"""First classes by rank that count as common, a third of them at most (n_common_classes)."""


@dataclass(frozen=True)
class Evaluation:
    """Sequences with their right answers.

    Attributes:
        name: prefix of the scores.
        sequences: what the model sees.
        polysemy: labels of a class, any of which is right; 0 where labels are the sequence's own.
        ways: of few-shot sequences, whose labels are 0 to ways - 1.
    """

    name: str
    sequences: Sequences
    polysemy: int = 0
    ways: int = 2

    def score(self, logits: Tensor) -> dict[str, float]:
        """Return accuracies of logits (n, labels).

        ``name``: of few-shot sequences restricted to the labels of the context ("closed", chance
        1 / ways), else over all labels. Few-shot sequences also have ``name_open``, over all
        labels, and ``name_in_context``, the share of such answers that stand in the context.
        """
        answers = logits.argmax(dim=1).numpy()
        labels = self.sequences.labels
        if self.polysemy:
            right = answers // self.polysemy == self.sequences.classes[:, -1]
            return {self.name: float(right.mean())}
        closed = logits[:, : self.ways].argmax(dim=1).numpy()
        in_context = (labels[:, :-1] == answers[:, None]).any(axis=1)
        return {
            self.name: float((closed == labels[:, -1]).mean()),
            f"{self.name}_open": float((answers == labels[:, -1]).mean()),
            f"{self.name}_in_context": float(in_context.mean()),
        }


def draw_evaluations(
    stimuli: Stimuli, regime: Regime, n: int, shots: int, seed: int, *, by_rank: bool = False
) -> dict[str, Evaluation]:
    """Draw all evaluations of a training distribution, ``n`` sequences each.

    ``icl``: few-shot, held-out classes. ``iwl``: training distribution, the query's class not in
    the context. With ``by_rank`` also ``icl_rare`` and ``icl_common`` (few-shot with new labels on
    trained classes) and ``iwl_common`` (queries and context of common classes).
    """
    held = np.arange(stimuli.train, len(stimuli.values))
    found = [
        _fewshot("icl", n, held, regime, shots, [seed, 3]),
        _no_support("iwl", n, regime, None, [seed, 4]),
    ]
    if by_rank:
        frequent = min(COMMON, regime.n_classes // 3)
        common, rare = np.arange(frequent), np.arange(frequent, regime.n_classes)
        found += [
            _fewshot("icl_rare", n, rare, regime, shots, [seed, 5]),
            _fewshot("icl_common", n, common, regime, shots, [seed, 6]),
            _no_support("iwl_common", n, regime, frequent, [seed, 7]),
        ]
    return {exam.name: exam for exam in found}


def _fewshot(
    name: str, n: int, pool: Ints, regime: Regime, shots: int, stream: list[int]
) -> Evaluation:
    rng = np.random.default_rng(stream)
    drawn = draw_fewshot(rng, n, pool, regime, shots, regime.ways)
    return Evaluation(name, drawn, ways=regime.ways)


def _no_support(
    name: str, n: int, regime: Regime, n_classes: int | None, stream: list[int]
) -> Evaluation:
    drawn = draw_no_support(np.random.default_rng(stream), n, regime, n_classes)
    return Evaluation(name, drawn, polysemy=regime.polysemy)
