"""Byte-level BPE tokenizers trained here, and documents as rows of token ids of one length."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"

_BATCH = 1_000  # documents tokenized at once


def train_bpe(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer (Sennrich et al., 2016; bytes as in GPT-2).

    The same texts give the same tokenizer. Every text can be encoded; id 0 is the end of text.

    Args:
        texts: the training documents.
        vocab_size: number of ids, at least 257 (256 bytes and the end of text).

    Raises:
        ValueError: ``vocab_size`` is below 257.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if vocab_size < len(alphabet) + 1:
        raise ValueError(f"vocab_size must be at least {len(alphabet) + 1}, got {vocab_size}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )


def encode_documents(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int
) -> NDArray[np.int64]:
    """Cut each document into consecutive rows of exactly ``length`` tokens.

    A row never spans two documents and is never padded: what is left at a document's end, or a
    document that is too short, is dropped.

    Returns:
        Shape (n, length), in the order of the documents.
    """
    rows = [np.empty((0, length), dtype=np.int64)]
    for start in range(0, len(texts), _BATCH):
        encoded = tokenizer(
            list(texts[start : start + _BATCH]),
            add_special_tokens=False,
            return_attention_mask=False,
            verbose=False,
        )
        rows.extend(_chunks(ids, length) for ids in encoded["input_ids"])
    return np.concatenate(rows)


def _chunks(ids: Sequence[int], length: int) -> NDArray[np.int64]:
    whole = len(ids) // length
    return np.asarray(ids[: whole * length], dtype=np.int64).reshape(whole, length)
