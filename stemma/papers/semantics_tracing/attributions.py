"""Explanations of an answer: how much each word of a prompt speaks for it.

The answer's margin is the logit of the concept that the model chose minus that of the other. Every
method returns one score a word; the last word (the answer position) is no candidate.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from torch import Tensor

from stemma.papers.semantics_tracing import tracing
from stemma.papers.semantics_tracing.subject import Subject

Array = NDArray[np.float64]

NEUTRAL = "thing"
"""Stands in for a deleted word."""


class Setting(NamedTuple):
    """How the methods are run: layers and nodes of DST, steps of the path, samples of LIME."""

    layers: tuple[int, ...]
    nodes: int
    normed: bool
    steps: int
    samples: int


class Case(NamedTuple):
    """A prompt, the tokens of the concepts chosen and rejected, and the spans of its words."""

    prompt: str
    chosen: int
    rejected: int
    spans: tuple[tuple[int, int], ...]


Method = Callable[[Subject, Case, Setting, np.random.Generator], Array]


def make_case(prompt: str, chosen: int, rejected: int) -> Case:
    """Return the case of a prompt; its words are runs of letters, digits and ``/``, in order."""
    spans = [match.span() for match in re.finditer(r"[\w/]+", prompt)]
    return Case(prompt, chosen, rejected, tuple(spans[:-1]))


def without(case: Case, words: Sequence[int]) -> str:
    """Return the prompt with some of its words (by index) replaced by ``thing``."""
    text = case.prompt
    for start, stop in sorted((case.spans[w] for w in words), reverse=True):
        text = text[:start] + NEUTRAL + text[stop:]
    return text


def text_margins(subject: Subject, case: Case, texts: Sequence[str]) -> Array:
    """Return the margin of the case's answer after each of some texts, shape (n,)."""
    logits = subject.next_logits([subject.encode(text) for text in texts])
    margins: Array = (logits[:, case.chosen] - logits[:, case.rejected]).double().numpy()
    return margins


def dst(subject: Subject, case: Case, setting: Setting, rng: np.random.Generator) -> Array:
    """Distributional semantics tracing: absolute weights of the edges that start at a word."""
    maps = tracing.trace(
        subject, case.prompt, setting.layers, count=setting.nodes, normed=setting.normed
    )
    return by_word(subject, case, tracing.position_weights(maps))


def leave_one_out(
    subject: Subject, case: Case, setting: Setting, rng: np.random.Generator
) -> Array:
    """Drop of the margin when the word alone is replaced: for one deleted word, the best there is.

    The ceiling of the deletion test, not a rival.
    """
    texts = [case.prompt, *(without(case, [w]) for w in range(len(case.spans)))]
    margins = text_margins(subject, case, texts)
    return np.asarray(margins[0] - margins[1:])


def grad_x_input(subject: Subject, case: Case, setting: Setting, rng: np.random.Generator) -> Array:
    """Gradient of the margin with respect to a token's embedding, times that embedding."""
    inputs = embeddings(subject, subject.encode(case.prompt))
    gradient = gradients(subject, case, inputs[None])[0]
    return by_word(subject, case, (gradient * inputs).sum(dim=-1).double().cpu().numpy())


def integrated_gradients(
    subject: Subject, case: Case, setting: Setting, rng: np.random.Generator
) -> Array:
    """Integrated gradients (Sundararajan et al. 2017) along the line from a prompt of dots."""
    return by_word(subject, case, path_integral(subject, case, setting.steps))


def path_integral(subject: Subject, case: Case, steps: int) -> Array:
    """Return integrated gradients of each token, shape (length,), by the midpoint rule.

    Completeness: their sum is the margin of the prompt minus that of as many dots, up to the
    error of the rule.
    """
    ids = subject.encode(case.prompt)
    inputs = embeddings(subject, ids)
    base = embeddings(subject, dots(subject, len(ids)))
    parts = (torch.arange(steps, device=inputs.device) + 0.5) / steps
    points = base + parts[:, None, None] * (inputs - base)
    total = torch.zeros_like(inputs)
    for chunk in torch.split(points, 16):
        total += gradients(subject, case, chunk).sum(dim=0)
    result: Array = (total / steps * (inputs - base)).sum(dim=-1).double().cpu().numpy()
    return result


def attention_rollout(
    subject: Subject, case: Case, setting: Setting, rng: np.random.Generator
) -> Array:
    """Attention rollout (Abnar and Zuidema 2020): products of (A + I) / 2 over all layers."""
    inputs = torch.tensor([subject.encode(case.prompt)], device=subject.model.device)
    with torch.inference_mode():
        attentions = subject.model(
            input_ids=inputs, use_cache=False, output_attentions=True
        ).attentions
    return by_word(subject, case, rollout([a[0].double().cpu().numpy() for a in attentions])[-1])


def rollout(attentions: Sequence[Array]) -> Array:
    """Roll out layers' weights (heads, length, length); row i says what position i rests on."""
    flow = np.eye(attentions[0].shape[-1])
    for weights in attentions:
        flow = (0.5 * weights.mean(axis=0) + 0.5 * np.eye(len(flow))) @ flow
    return flow


def lime(subject: Subject, case: Case, setting: Setting, rng: np.random.Generator) -> Array:
    """LIME (Ribeiro et al. 2016): weights of a local linear model of the margin.

    Half of the words are replaced at random; samples weigh exp(-d^2 / 0.25^2), d the cosine
    distance to the whole prompt.
    """
    kept = rng.random((setting.samples, len(case.spans))) < 0.5
    kept[0] = True
    margins = text_margins(
        subject, case, [without(case, np.flatnonzero(~k).tolist()) for k in kept]
    )
    distance = 1 - np.sqrt(kept.mean(axis=1))
    model = Ridge(alpha=1.0).fit(kept, margins, sample_weight=np.exp(-((distance / 0.25) ** 2)))
    return np.asarray(model.coef_, dtype=float)


def at_random(subject: Subject, case: Case, setting: Setting, rng: np.random.Generator) -> Array:
    """Score words at random."""
    return rng.random(len(case.spans))


METHODS: dict[str, Method] = {
    "dst": dst,
    "leave_one_out": leave_one_out,
    "grad_x_input": grad_x_input,
    "integrated_gradients": integrated_gradients,
    "attention_rollout": attention_rollout,
    "lime": lime,
    "random": at_random,
}
"""All methods, by name."""


def by_word(subject: Subject, case: Case, values: Array) -> Array:
    """Return the sum of token values (length,) over each word, shape (words,)."""
    return np.array([values[subject.overlapping(case.prompt, *span)].sum() for span in case.spans])


def embeddings(subject: Subject, ids: Sequence[int]) -> Tensor:
    """Return the input embeddings of token ids, shape (length, width)."""
    layer: Any = subject.model.get_input_embeddings()
    found: Tensor = layer(torch.tensor(list(ids), device=subject.model.device)).detach()
    return found


def dots(subject: Subject, length: int) -> list[int]:
    """Return as many tokens ``.``: a prompt that says nothing."""
    return [subject.tokenizer(".", add_special_tokens=False)["input_ids"][0]] * length


def gradients(subject: Subject, case: Case, inputs: Tensor) -> Tensor:
    """Return the margin's gradient at input embeddings (n, length, width), in that shape."""
    points = inputs.detach().clone().requires_grad_()
    logits = embedded_logits(subject, points)
    margin = (logits[:, case.chosen] - logits[:, case.rejected]).sum()
    return torch.autograd.grad(margin, points)[0]


def embedded_logits(subject: Subject, inputs: Tensor) -> Tensor:
    """Return logits after input embeddings (n, length, width), shape (n, vocabulary)."""
    output = subject.model(inputs_embeds=inputs, use_cache=False, logits_to_keep=1)
    logits: Tensor = output.logits[:, -1].float()
    return logits
