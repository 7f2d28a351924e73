"""Tiny random language models of each architecture whose heads are known, and a tokenizer."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

VOCABULARY, LAYERS, HEADS, WIDTH = 50, 3, 4, 32


def make_model(kind):
    torch.manual_seed(0)
    if kind == "llama":  # grouped queries: two heads share their values
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=WIDTH,
                intermediate_size=48,
                num_hidden_layers=LAYERS,
                num_attention_heads=HEADS,
                num_key_value_heads=2,
            )
        )
    elif kind == "gpt2":
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS)
        )
    else:
        model = GPTNeoXForCausalLM(
            GPTNeoXConfig(
                vocab_size=VOCABULARY,
                hidden_size=WIDTH,
                intermediate_size=48,
                num_hidden_layers=LAYERS,
                num_attention_heads=HEADS,
            )
        )
    for parameter in model.parameters():  # large enough for visible effects, biases included
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def make_tokenizer():
    words = ["[UNK]", "[PAD]", "The", "capital", "of", "is", ".", ":", "?", "Q", "A", "What", "the"]
    words += ["Poland", "Warsaw", "London", "Chad", "Malta"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")
