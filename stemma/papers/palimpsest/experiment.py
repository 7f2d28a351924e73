"""One Alice with everything made from her: the jobs that the notebook runs for each seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PretrainedConfig, PreTrainedModel

from provenance import query_test, reshuffle_test
from stemma.models import lm
from stemma.models.corpus import Corpus, Rows
from stemma.models.derivatives import fine_tunes, student
from stemma.models.pretraining import (
    TrainingRun,
    candidates,
    initial_model,
    pretrain,
)
from stemma.models.scoring import sequence_losses
from stemma.models.training import Recipe
from stemma.models.weights import average, quantize_round
from stemma.papers.palimpsest.observation import Text, candidate_scores, write

Array = NDArray[np.float64]

PROMPT = 8
"""Tokens of a prompt; the rest of an example's length is written by Bob."""

ALICE, MERGE, ROUNDED, STUDENT = "Alice", "merge 0.5/0.5", "8 bits", "student"


@dataclass(frozen=True)
class Design:
    """What all jobs of one run share; see ``paper.yaml`` for the meaning of each number."""

    vocab_size: int
    hidden: int
    layers: int
    length: int
    recipe: Recipe
    init_seed: int
    amounts: tuple[float, ...]
    shares: tuple[float, ...]
    reshuffles: int
    reshuffles_sweep: int
    temperatures: tuple[float, ...]
    samples: int

    @property
    def share(self) -> float:
        """The largest share that is run again, used wherever the share is not the question."""
        return max(self.shares)

    @property
    def new_tokens(self) -> int:
        """Tokens that Bob writes after each prompt."""
        return self.length - PROMPT

    def config(self, hidden: int | None = None) -> PretrainedConfig:
        """Return the architecture, or one of another width."""
        return lm.small_config(
            vocab_size=self.vocab_size,
            hidden=hidden or self.hidden,
            layers=self.layers,
            positions=2 * self.length,
        )

    def train(
        self,
        rows: Rows,
        order: NDArray[np.int64],
        hidden: int | None = None,
        after_step: Callable[[PreTrainedModel, int], object] | None = None,
    ) -> TrainingRun:
        """Train an Alice in the given order, with checkpoints before each share of the end."""
        return pretrain(
            self.config(hidden), self.init_seed, rows, order, self.recipe, self.shares, after_step
        )


def fine_tune_name(amount: float) -> str:
    """Return the name of a fine-tune of an amount (share of the pre-training amount)."""
    return f"fine-tune {100 * amount:g} %"


def derive(
    design: Design, alice: TrainingRun, sibling: PreTrainedModel, corpus: Corpus, seed: int
) -> dict[str, PreTrainedModel]:
    """Make every derivative of one Alice.

    Args:
        design: the run's numbers.
        alice: the run that all descend from.
        sibling: a model of the same data in another order, for the merge.
        corpus: Bob's data and prompts.
        seed: decides all that Bob does; independent of Alice's order.
    """
    rng = np.random.default_rng(seed)
    tuned = fine_tunes(alice.model, corpus.bob, design.amounts, design.recipe, rng)
    models = {ALICE: alice.model} | {fine_tune_name(a): m for a, m in tuned.items()}
    models[MERGE] = average([alice.model, sibling], [0.5, 0.5])
    models[ROUNDED] = quantize_round(alice.model, 8)
    start = initial_model(design.config(), design.init_seed, design.recipe.device)
    models[STUDENT] = student(
        alice.model, start, corpus.prompts[:, :PROMPT], design.length, design.recipe, seed
    )
    return models


@dataclass(frozen=True)
class Observed:
    """Log-likelihoods of Bob's texts under the candidates of one Alice, each (m + 1, samples).

    m is ``reshuffles`` for Alice's text at temperature 1 and the sibling's, else
    ``reshuffles_sweep``.

    Attributes:
        temperature: text of Alice's own model, by sampling temperature.
        tuned: text of the two smallest fine-tunes.
        adapted: the same after every candidate was adapted to it.
        share: text of Alice's own model under re-runs of each share of the run.
        halved: the same experiment with a model of half the width.
        sibling: text of an innocent sibling.
    """

    temperature: dict[float, Array]
    tuned: dict[float, Array]
    adapted: dict[float, Array]
    share: dict[float, Array]
    halved: Array
    sibling: Array


def observe(
    design: Design,
    alice: TrainingRun,
    bobs: dict[str, PreTrainedModel],
    sibling: PreTrainedModel,
    corpus: Corpus,
    seed: int,
) -> Observed:
    """Run every reshuffle experiment of one Alice.

    Args:
        design: the run's numbers.
        alice: the run.
        bobs: its derivatives, from ``derive``.
        sibling: an innocent model of the same data.
        corpus: the examples and prompts.
        seed: decides reshuffles and texts.
    """
    rng = np.random.default_rng(seed)
    prompts = corpus.prompts[rng.permutation(len(corpus.prompts))[: design.samples], :PROMPT]

    def text_of(model: PreTrainedModel, temperature: float = 1.0) -> Text:
        return write(model, prompts, design.new_tokens, temperature, int(rng.integers(2**31)))

    main = candidates(alice, design.share, corpus.alice, design.reshuffles, rng)
    few = main[: design.reshuffles_sweep + 1]
    temperature = {
        t: candidate_scores(main if t == 1.0 else few, text_of(alice.model, t))
        for t in design.temperatures
    }
    texts = {a: text_of(bobs[fine_tune_name(a)]) for a in sorted(design.amounts)[:2]}
    own = text_of(alice.model)
    share = {design.share: candidate_scores(few, own)}
    for f in sorted(set(design.shares) - {design.share}):
        rerun = candidates(alice, f, corpus.alice, design.reshuffles_sweep, rng)
        share[f] = candidate_scores(rerun, own)
    half = design.train(corpus.alice, alice.order, design.hidden // 2)
    halves = candidates(half, design.share, corpus.alice, design.reshuffles_sweep, rng)
    return Observed(
        temperature=temperature,
        tuned={a: candidate_scores(few, text) for a, text in texts.items()},
        adapted={a: candidate_scores(few, text, design.recipe) for a, text in texts.items()},
        share=dict(sorted(share.items())),
        halved=candidate_scores(halves, text_of(half.model)),
        sibling=candidate_scores(main, text_of(sibling)),
    )


def whole_text_t(scores: Array, m: int) -> float:
    """Return t of the reshuffle test on all samples together, with the first m re-runs."""
    means = scores[: m + 1].mean(axis=1)
    return reshuffle_test(float(means[0]), means[1:]).t


def panel_z(
    design: Design, rows: Rows, orders: Sequence[NDArray[np.int64]], recipe: Recipe
) -> float:
    """Return z of phi_ref for one recipe: the first order under test, the second as reference."""
    runs = [pretrain(design.config(), design.init_seed, rows, o, recipe) for o in orders]
    suspect, reference = (-sequence_losses(run.model, rows) for run in runs)
    positions = np.argsort(orders[0])  # the inverse permutation: the position of each row
    return query_test(positions, suspect, reference, permutations=99, resamples=0).test.z
