"""Where the learners come from: packages, the hub, or training on child-directed speech."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from stemma.models import lm, pretrained
from stemma.models.tokenizer import END_OF_TEXT, encode_documents, train_bpe
from stemma.models.training import Recipe
from stemma.models.weights import clone, weights_digest
from stemma.papers.cross_dative import stimuli
from stemma.papers.cross_dative.learner import Learner, freeze


class Plan(NamedTuple):
    """How a learner is trained on child-directed speech.

    Attributes:
        epochs: passes over the text.
        learning_rate: of AdamW, constant.
        length: tokens an example.
        batch_size: examples a step.
        vocab_size: of the tokenizer of models from scratch (the paper's is 8192).
        layers: of models from scratch, likewise below.
        hidden: width.
        heads: attention heads.
        intermediate: width of the feed-forward.
    """

    epochs: int
    learning_rate: float
    length: int = 64
    batch_size: int = 16
    vocab_size: int = 8192
    layers: int = 8
    hidden: int = 256
    heads: int = 8
    intermediate: int = 1024


def random_learner(seed: int) -> Learner:
    """Return a tiny model with random weights: it proves the machinery and knows nothing."""
    known = stimuli.lexicon()
    tokenizer = train_bpe([*known["good"], *known["bad"]], 400)
    config = lm.small_config(vocab_size=len(tokenizer), hidden=32, layers=2, heads=2, positions=64)
    return freeze(lm.build(config, seed), tokenizer, 0)


def loaded(found: pretrained.Pretrained, *, spaced: bool = False) -> Learner:
    """Make a learner of a loaded model; a text begins with the end of the one before.

    Raises:
        ValueError: the tokenizer knows no token that begins a text.
    """
    vocabulary = found.tokenizer.get_vocab()
    bos = vocabulary.get(END_OF_TEXT, found.tokenizer.bos_token_id)
    if bos is None:
        raise ValueError("the tokenizer has no token that begins a text")
    return freeze(found.model, found.tokenizer, int(bos), spaced=spaced)


def from_hub(names: Sequence[str]) -> Iterator[tuple[str, Learner]]:
    """Yield the paper's own models, by their ids on the hub (or local folders).

    Their training text is a transcript with spaces before punctuation.
    """
    for name in names:
        yield name, loaded(pretrained.load(name), spaced=True)


def continued(
    documents: Sequence[str], plan: Plan, seed: int, base: pretrained.Pretrained, device: str
) -> Learner:
    """Train a copy of a loaded model further on child-directed speech (all weights); freeze it."""
    rows = encode_documents(base.tokenizer, documents, plan.length)
    model = clone(base.model)
    _train(model, rows, plan, seed, device)
    return loaded(base._replace(model=model))


def from_scratch(documents: Sequence[str], plan: Plan, seed: int, device: str) -> Learner:
    """Train a small model of the paper's size on child-directed speech, then freeze it.

    The seed decides the initial weights and the order.
    """
    tokenizer = train_bpe(documents, plan.vocab_size)
    config = lm.small_config(
        vocab_size=len(tokenizer),
        hidden=plan.hidden,
        layers=plan.layers,
        heads=plan.heads,
        intermediate=plan.intermediate,
    )
    model = lm.build(config, seed)
    _train(model, encode_documents(tokenizer, documents, plan.length), plan, seed, device)
    return freeze(model, tokenizer, 0)


def _train(
    model: PreTrainedModel, rows: NDArray[np.int64], plan: Plan, seed: int, device: str
) -> None:
    rng = np.random.default_rng([seed, 1])
    order = np.concatenate([rng.permutation(len(rows)) for _ in range(plan.epochs)])
    model.to(device)  # type: ignore[arg-type]
    model.requires_grad_(True)
    Recipe(plan.batch_size, plan.learning_rate, device, bf16=device != "cpu").fit(
        model, rows, order
    )
    model.train(False)


def unseen(documents: Sequence[str], tests: Iterable[str]) -> list[str]:
    """Return the documents without the lines that are a test sentence with some verb in it."""
    taken = {tuple(w for w in stimuli.words(test) if w != "verb") for test in tests}
    return [
        "\n".join(line for line in document.split("\n") if not _fits(line, taken))
        for document in documents
    ]


def _fits(line: str, taken: set[tuple[str, ...]]) -> bool:
    said = tuple(stimuli.words(line))
    return any(said[:i] + said[i + 1 :] in taken for i in range(len(said)))


def digest(learner: Learner) -> str:
    """Return the digest of the weights; a frozen learner's never changes."""
    return weights_digest(learner.model)
