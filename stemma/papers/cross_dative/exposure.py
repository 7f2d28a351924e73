"""Learning the embeddings of new words, one from each exposure, in a frozen model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stemma.papers.cross_dative.learner import (
    Array,
    Frame,
    Learner,
    encode,
    equal_before,
    log_probabilities,
    prepare,
    scores,
)

Steps = NDArray[np.int64]


@dataclass(frozen=True)
class Trajectory:
    """How new words were learnt.

    Attributes:
        vectors: embeddings at the start and after each step, shape (steps + 1, words, width).
        losses: mean loss per token of the exposure in these states, shape (steps + 1, words).
    """

    vectors: torch.Tensor
    losses: Array

    def at(self, steps: Steps) -> torch.Tensor:
        """Return each word's embedding after its own number of steps, shape (words, width)."""
        words = torch.arange(self.vectors.shape[1])
        chosen: torch.Tensor = self.vectors[torch.from_numpy(steps), words]
        return chosen


def initial_vector(learner: Learner, covariance_scale: float, seed: int) -> torch.Tensor:
    """Draw an embedding from the Gaussian of all embeddings, its covariance scaled down.

    Returns:
        Shape (width,).
    """
    table = learner.embeddings.double().cpu()
    root = torch.linalg.cholesky(
        torch.cov(table.T) + 1e-12 * torch.eye(table.shape[1], dtype=torch.float64)
    )
    noise = torch.from_numpy(np.random.default_rng(seed).standard_normal(table.shape[1]))
    vector: torch.Tensor = table.mean(dim=0) + covariance_scale**0.5 * (root @ noise)
    return vector.to(learner.embeddings)


def learn(
    learner: Learner,
    texts: Sequence[str],
    start: torch.Tensor,
    *,
    learning_rate: float,
    steps: int,
    batch_size: int = 24,
) -> Trajectory:
    """Learn one new word from each text by AdamW, without decay, at a constant rate (the paper's).

    Words never meet: the loss of one does not depend on another's embedding, and AdamW works on
    each number alone, so that batches change nothing but time.

    Args:
        learner: the frozen model.
        texts: exposures, one a word.
        start: first embedding of every word, shape (width,).
        learning_rate: of AdamW.
        steps: gradient steps.
        batch_size: words at once.
    """
    sentences = [encode(learner, text) for text in texts]
    vectors = torch.empty(steps + 1, len(texts), len(start), dtype=start.dtype)
    losses = np.empty((steps + 1, len(texts)))
    for group in equal_before(sentences, batch_size):
        frame = prepare(learner, [sentences[i] for i in group])
        states = _descend(learner, frame, start.repeat(len(group), 1), learning_rate, steps)
        for step, (vector, loss) in enumerate(states):
            vectors[step, group] = vector.cpu()
            losses[step, group] = loss.double().cpu().numpy()
    return Trajectory(vectors, losses)


def _descend(
    learner: Learner, frame: Frame, start: torch.Tensor, learning_rate: float, steps: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    vectors = start.clone().requires_grad_(True)
    optimizer = torch.optim.AdamW([vectors], lr=learning_rate, eps=1e-8, weight_decay=0.0)
    states = []
    for _ in range(steps):
        loss = -log_probabilities(learner, frame, vectors) / frame.lengths
        states.append((vectors.detach().clone(), loss.detach()))
        optimizer.zero_grad()
        loss.sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        loss = -log_probabilities(learner, frame, vectors) / frame.lengths
    states.append((vectors.detach().clone(), loss))
    return states


@dataclass(frozen=True)
class Validation:
    """Sentences that use the new word as a verb, and sentences in which it cannot be one."""

    good: list[Frame]
    bad: list[Frame]

    def verbhood(self, learner: Learner, vectors: torch.Tensor) -> Array:
        """Return mean score of good minus bad sentences for each word, shape (words,)."""
        both = scores(learner, [*self.good, *self.bad], vectors.to(learner.embeddings))
        good = len(self.good)
        result: Array = both[:, :good].mean(axis=1) - both[:, good:].mean(axis=1)
        return result


def verbhood_at(
    learner: Learner, validation: Validation, path: Trajectory, checkpoints: Sequence[int]
) -> Array:
    """Return the verb-hood of each word at each checkpoint, shape (checkpoints, words)."""
    return np.stack([validation.verbhood(learner, path.vectors[step]) for step in checkpoints])


def equal_loss_steps(losses: Array) -> Steps:
    """Return each word's first step at which its loss is as low as every word's gets.

    Args:
        losses: shape (steps + 1, words).
    """
    level = losses.min(axis=0).max()
    first: Steps = (losses <= level).argmax(axis=0)
    return first
