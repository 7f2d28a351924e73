"""Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedModel

from stemma.models.corpus import Rows
from stemma.models.sampling import sample
from stemma.models.training import Recipe
from stemma.models.weights import clone


@dataclass(frozen=True)
class Preferences:
    """Pairs of continuations of one prompt each, all of one length.

    Attributes:
        prompts: token ids, shape (n, prompt length), at least one token.
        chosen: the better continuations, shape (n, new tokens).
        rejected: the worse ones, of the same shape.
    """

    prompts: Rows
    chosen: Rows
    rejected: Rows

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit.

        Raises:
            ValueError: numbers of rows that differ, or an empty prompt or continuation.
        """
        n, prompt = self.prompts.shape
        if self.chosen.shape != self.rejected.shape or len(self.chosen) != n:
            raise ValueError(
                f"{n} prompts, chosen {self.chosen.shape}, rejected {self.rejected.shape}: one"
                " continuation of each kind a prompt, all of one length"
            )
        if prompt == 0 or self.chosen.shape[1] == 0:
            raise ValueError("prompts and continuations need at least one token")


def real_against_sampled(
    model: PreTrainedModel, rows: Rows, prompt: int, seed: int, temperature: float = 1.0
) -> Preferences:
    """Prefer how real text goes on to what ``model`` itself would have written.

    Args:
        model: writes the rejected continuations.
        rows: real examples, shape (n, length).
        prompt: tokens of each row that are the prompt.
        seed: decides the samples.
        temperature: of the samples.
    """
    written = sample(
        model, rows[:, :prompt], rows.shape[1] - prompt, temperature=temperature, seed=seed
    )
    return Preferences(rows[:, :prompt], rows[:, prompt:], written)


def dpo(
    model: PreTrainedModel, pairs: Preferences, recipe: Recipe, seed: int, *, beta: float = 0.1
) -> PreTrainedModel:
    """Return a copy of ``model`` tuned once over the pairs, with ``model`` as the reference.

    Args:
        model: the policy's start and the reference; left as it is.
        pairs: preferences.
        recipe: batch size (pairs a step) and learning rate.
        seed: decides the order.
        beta: strength of the pull towards the reference.
    """
    reference, policy = clone(model).train(False), clone(model)
    start = pairs.prompts.shape[1]
    stop = start + pairs.chosen.shape[1]
    rows = np.concatenate([pairs.prompts, pairs.chosen, pairs.rejected], axis=1)

    def loss(current: PreTrainedModel, tokens: torch.Tensor) -> torch.Tensor:
        chosen = tokens[:, :stop]
        rejected = torch.cat([tokens[:, :start], tokens[:, stop:]], dim=1)
        both = torch.cat([chosen, rejected])
        with torch.no_grad():
            before = continuation_log_probs(reference, both, start)
        gain = continuation_log_probs(current, both, start) - before
        return dpo_loss(*gain.chunk(2), beta=beta)

    recipe.fit(policy, rows, np.random.default_rng(seed).permutation(len(rows)), loss=loss)
    return policy


def continuation_log_probs(
    model: PreTrainedModel, tokens: torch.Tensor, start: int
) -> torch.Tensor:
    """Return log p(tokens[:, start:] | tokens[:, :start]) of each row in nats, shape (n,)."""
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits[:, start - 1 :].float()
    log_probs: torch.Tensor = logits.log_softmax(dim=-1).gather(-1, tokens[:, start:, None])
    return log_probs[:, :, 0].sum(dim=1)


def dpo_loss(chosen: torch.Tensor, rejected: torch.Tensor, *, beta: float) -> torch.Tensor:
    """Return the loss of Eq. 7: the mean of -log sigmoid(beta (chosen - rejected)).

    Args:
        chosen: log pi(y_w | x) - log pi_ref(y_w | x) in nats, shape (n,).
        rejected: the same of y_l.
        beta: strength of the pull towards the reference.
    """
    return -functional.logsigmoid(beta * (chosen - rejected)).mean()
