"""Bob's text: writing it, scoring it under Alice's candidates, the power for each text length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from provenance import (
    NgramIndex,
    Transcript,
    gaussian_tail_diagnostic,
    partition_test,
    reshuffle_test,
)
from stemma.models.corpus import Rows
from stemma.models.sampling import sample
from stemma.models.scoring import token_losses
from stemma.models.training import Recipe
from stemma.models.weights import clone

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Text:
    """Completions by a suspect, as token ids; no text is ever decoded and tokenized again.

    Attributes:
        prompts: shape (samples, prompt length); given, so never scored.
        completions: shape (samples, new tokens).
    """

    prompts: Rows
    completions: Rows

    def take(self, index: NDArray[np.int64]) -> "Text":
        """Return some of the samples."""
        return Text(self.prompts[index], self.completions[index])


def write(
    model: PreTrainedModel, prompts: Rows, new_tokens: int, temperature: float, seed: int
) -> Text:
    """Let ``model`` continue the prompts."""
    return Text(prompts, sample(model, prompts, new_tokens, temperature=temperature, seed=seed))


def log_likelihood(model: PreTrainedModel, text: Text) -> Array:
    """Return log p(completion | prompt) of each sample in nats, shape (samples,)."""
    rows = np.concatenate([text.prompts, text.completions], axis=1)
    losses = token_losses(model, rows)
    # Column j scores token j + 1: the first completion token sits at prompt length - 1.
    scores: Array = -losses[:, text.prompts.shape[1] - 1 :].sum(axis=1)
    return scores


def candidate_scores(
    models: Sequence[PreTrainedModel], text: Text, adapt: Recipe | None = None
) -> Array:
    """Return log-likelihoods of the text under each candidate, shape (candidates, samples).

    Args:
        models: the true-order candidate first.
        text: what the suspect wrote.
        adapt: first train a copy of every candidate, all alike, for one pass over the text
            itself: this takes out what fine-tuning has changed in all of them.
    """
    return np.stack([log_likelihood(_adapted(model, text, adapt), text) for model in models])


def _adapted(model: PreTrainedModel, text: Text, recipe: Recipe | None) -> PreTrainedModel:
    if recipe is None:
        return model
    rows = np.concatenate([text.prompts, text.completions], axis=1)
    tuned = clone(model)
    recipe.fit(tuned, rows, np.arange(len(rows)))
    return tuned


@dataclass(frozen=True)
class Draws:
    """Reshuffle tests of several texts of one size.

    Attributes:
        p: exact rank p-values, shape (draws,).
        t: t statistics, shape (draws,).
        p_t: their p-values, shape (draws,).
        normal: the normal tails that the released code would report; diagnostic only.
        floor: smallest exact p-value.
    """

    p: Array
    t: Array
    p_t: Array
    normal: Array
    floor: float


def reshuffle_draws(scores: Array, samples: int, draws: int, rng: np.random.Generator) -> Draws:
    """Run the reshuffle test on random sub-texts.

    Args:
        scores: from ``candidate_scores``, shape (m + 1, samples available).
        samples: samples a sub-text.
        draws: number of sub-texts, drawn independently of each other.
        rng: decides them.
    """
    picks = [rng.choice(scores.shape[1], samples, replace=False) for _ in range(draws)]
    means = [scores[:, pick].mean(axis=1) for pick in picks]
    results = [reshuffle_test(float(m[0]), m[1:]) for m in means]
    return Draws(
        p=np.array([r.p for r in results]),
        t=np.array([r.t for r in results]),
        p_t=np.array([r.p_t for r in results]),
        normal=np.array([gaussian_tail_diagnostic(float(m[0]), m[1:]) for m in means]),
        floor=results[0].floor,
    )


def partition_draws(
    transcript: Transcript,
    index: NgramIndex,
    text: Text,
    samples: int,
    draws: int,
    rng: np.random.Generator,
    permutations: int = 999,
) -> tuple[Array, Array]:
    """Run the partition test on random sub-texts; return exact p-values and z, each (draws,).

    Fixed beforehand: weight 1 / (number of occurrences), n-grams of 2 to ``index.n_max``
    tokens, every example a part.
    """
    p, z = [], []
    for _ in range(draws):
        pick = rng.choice(len(text.completions), samples, replace=False)
        result = partition_test(
            transcript,
            text.completions[pick],
            n_max=index.n_max,
            index=index,
            permutations=permutations,
            resamples=0,
        )
        p.append(result.p)
        z.append(result.tests["inverse"].z)
    return np.array(p), np.array(z)


def smallest_passing(sizes: Sequence[int], p: Sequence[Array], alpha: float) -> int:
    """Return the smallest size from which on the median p stays at most ``alpha``.

    Where not even the largest size passes, the largest size is returned: a lower bound.
    """
    passing = [bool(np.median(values) <= alpha) for values in p]
    for i, size in enumerate(sizes):
        if all(passing[i:]):
            return size
    return sizes[-1]
