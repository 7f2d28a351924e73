"""Examples of one length, split at random into Alice's, Bob's, held-out ones and prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from stemma.errors import DataUnavailable
from stemma.models.tokenizer import encode_documents, train_bpe

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Corpus:
    """Disjoint sets of examples, each of shape (n, length), drawn from the same text.

    Attributes:
        alice: what Alice trains on, in an arbitrary order that no model ever follows.
        bob: what fine-tunes and the stranger train on.
        held_out: no model trains on them; exchangeable with ``alice``.
        prompts: beginnings for generated text; no model trains on them.
        tokenizer: the tokenizer, only for showing text: every test runs on token ids.
    """

    alice: Rows
    bob: Rows
    held_out: Rows
    prompts: Rows
    tokenizer: PreTrainedTokenizerBase


def build_corpus(
    texts: Sequence[str],
    *,
    documents: int,
    vocab_size: int,
    length: int,
    n_train: int,
    n_held_out: int,
    n_prompts: int,
    seed: int,
    n_bob: int | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Corpus:
    """Draw documents, train a tokenizer on them, cut them into examples and split these.

    Args:
        texts: all documents of the source.
        documents: how many of them to draw (all, if there are fewer).
        vocab_size: number of token ids.
        length: tokens an example.
        n_train: examples for Alice.
        n_held_out: examples that nobody trains on.
        n_prompts: examples whose beginnings are prompts.
        seed: decides the draw and the split.
        n_bob: examples for Bob, by default as many as for Alice.
        tokenizer: the tokenizer to use; none is trained then.

    Raises:
        DataUnavailable: the text is too short for these numbers.
    """
    rng = np.random.default_rng(seed)
    chosen = [texts[i] for i in rng.permutation(len(texts))[:documents]]
    if tokenizer is None:
        tokenizer = train_bpe(chosen, vocab_size)
    rows = encode_documents(tokenizer, chosen, length)
    cuts = np.cumsum([n_train, n_train if n_bob is None else n_bob, n_held_out, n_prompts])
    if len(rows) < cuts[-1]:
        raise DataUnavailable(
            f"the text gives {len(rows)} examples of {length} tokens, {cuts[-1]} are needed: raise"
            " `documents` or lower `n_train`"
        )
    rows = rows[rng.permutation(len(rows))]
    alice, bob, held_out, prompts = np.split(rows[: cuts[-1]], cuts[:-1])
    return Corpus(alice, bob, held_out, prompts, tokenizer)
