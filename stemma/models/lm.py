"""Small decoder-only language models, of transformers' own Llama and GPT-NeoX classes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
)

# Initial weights come from torch's global generator, which threads would otherwise share.
_GENERATOR = threading.Lock()

Architecture = Literal["llama", "gpt-neox"]


def small_config(
    architecture: Architecture = "llama",
    *,
    vocab_size: int = 4_000,
    hidden: int = 128,
    layers: int = 2,
    heads: int = 4,
    intermediate: int | None = None,
    positions: int = 512,
    tie_embeddings: bool = True,
) -> PretrainedConfig:
    """Describe a small model; the defaults are the suite's standard one (0.91M parameters).

    Args:
        architecture: ``llama`` (RMSNorm, SwiGLU) or ``gpt-neox`` (the architecture of Pythia).
        vocab_size: number of token ids; id 0 begins and ends a text.
        hidden: width of the residual stream.
        layers: number of blocks.
        heads: attention heads a block; must divide ``hidden``.
        intermediate: width within the feed-forward; default 8/3 (Llama) or 4 times ``hidden``.
        positions: longest sequence, in tokens.
        tie_embeddings: whether input and output embeddings are the same matrix.
    """
    kind, feed_forward = (
        (LlamaConfig, 8 * hidden // 3) if architecture == "llama" else (GPTNeoXConfig, 4 * hidden)
    )
    return kind(
        vocab_size=vocab_size,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate or feed_forward,
        max_position_embeddings=positions,
        tie_word_embeddings=tie_embeddings,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
    )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block ``seed`` alone decides what the CPU draws; then all is as it was.

    One thread at a time: initial weights come from torch's global generator.
    """
    with _GENERATOR, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build(config: PretrainedConfig, seed: int) -> PreTrainedModel:
    """Return a freshly initialised model in fp32 on the CPU; the seed decides every weight.

    The global random state is left as it was. Threads may build models at the same time.
    """
    with seeded(seed):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=torch.float32
        )
    return model


def parameter_count(model: PreTrainedModel) -> int:
    """Return the number of distinct parameters (tied ones count once)."""
    return sum(parameter.numel() for parameter in model.parameters())
