"""superposition-scaling: what claims read off trained models, and models and texts of the hub."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from stemma import catalog
from stemma.claims import Verdict
from stemma.errors import DataUnavailable
from stemma.models import pretrained
from stemma.models.lm import build, small_config
from stemma.models.tokenizer import train_bpe
from stemma.papers.superposition_scaling import frequencies, language_models, study, toy
from stemma.papers.superposition_scaling.training import Setting, evaluate

PROSE = "She opened the window and saw that it had been raining for most of the night."


def judged(claim: str, cells: dict[str, dict[str, object]], scale: str = "small") -> Verdict:
    paper = catalog.load("superposition-scaling")
    (result,) = (r for r in paper.judge(scale, {claim: cells}) if r.claim == claim)
    return result.verdict


def task(seed: int = 0, steps: int = 250, width: int = 4) -> study.Task:
    setting = Setting(steps, 32, fresh=2000)
    return study.Task("p", frequencies.power(16, 1.0), width, (-1.0, 0.5), 2, setting, seed)


def test_the_rival_is_the_loss_of_the_first_m_features_alone() -> None:
    p = frequencies.power(12, 0.8)
    rows = torch.eye(12)[None, :, :5]
    weights = toy.Weights(rows, torch.zeros(1, 12))
    measured = evaluate(weights, p, Setting(1, 1000, fresh=400_000), seed=1)
    assert float(measured) == pytest.approx(study.top_m_loss(p, 5), rel=0.01)
    assert study.top_m_loss(p, 12) == 0


def test_measuring_keeps_a_row_a_model_and_repeats_itself() -> None:
    found, again, other = (study.measure(task(seed)) for seed in (0, 0, 1))
    assert found.table[["gamma", "replicate"]].to_numpy().tolist() == [
        [-1.0, 0],
        [-1.0, 1],
        [0.5, 0],
        [0.5, 1],
    ]
    assert found.norms.shape == (2, 16)
    assert found.curves.shape == (2, 50)
    pd.testing.assert_frame_equal(found.table, again.table, check_exact=True)
    assert not np.isclose(found.table.loss, other.table.loss).any()
    # Replicates are independent models on samples of their own.
    assert found.table.loss[0] != found.table.loss[1]
    weak = found.table.gamma > 0
    assert (found.table[weak].phi_half < found.table[~weak].phi_half.min()).all()


def test_frozen_rows_stay_as_drawn() -> None:
    frozen = task()._replace(setting=Setting(250, 32, fresh=2000, train_rows=False))
    found = study.measure(frozen)
    assert found.norms == pytest.approx(np.ones((2, 16)), abs=1e-5)


def test_power_laws_are_fitted_for_each_replicate() -> None:
    widths = np.array([4, 8, 16, 32])
    table = pd.concat(
        pd.DataFrame(
            {
                "frequencies": "p",
                "gamma": -1.0,
                "replicate": replicate,
                "width": widths,
                "loss": np.where(widths == 4, 9.0, 2.0 * widths**slope),
            }
        )
        for replicate, slope in enumerate((-1.0, -0.5))
    ).sample(frac=1, random_state=0)
    laws = study.power_laws(table, drop=1).sort_values("replicate")
    assert laws.slope.tolist() == pytest.approx([-1.0, -0.5])
    assert laws.least.tolist() == pytest.approx(laws.greatest.tolist())
    whole = study.power_laws(table).sort_values("replicate")
    assert (whole.r_squared < 1).all()
    assert (whole.least < whole.greatest).all()


def test_exponents_on_alpha_are_a_line_for_each_replicate() -> None:
    laws = pd.DataFrame(
        [
            {"frequencies": study.alpha_name(a), "replicate": r, "slope": -(b * (a - 1) + c)}
            for a in (1.25, 1.5, 2.0)
            for r, (b, c) in enumerate([(1.0, 0.0), (0.8, 0.1)])
        ]
    )
    slopes, intercepts = study.exponents_on_alpha(laws, [1.25, 1.5, 2.0])
    assert slopes == pytest.approx([1.0, 0.8])
    assert intercepts == pytest.approx([0.0, 0.1], abs=1e-12)


def test_a_loss_that_still_falls_has_not_converged() -> None:
    table = pd.DataFrame(
        {
            "frequencies": "p",
            "gamma": -1.0,
            "width": [4, 4, 8, 8],
            "late_change": [0.01, 0.02, 0.03, 0.05],
        }
    )
    assert study.converged(table).converged.tolist() == [True, False]


def test_an_untrained_law_contradicts() -> None:
    """n = 512 with 1,500 steps gave a slope of -0.46: training that ends early must not pass."""
    short = {"linear": {"ours": [-0.46, -0.44, -0.47, -0.45, -0.46]}}
    assert judged("C1", short) is Verdict.CONTRADICTED
    assert (
        judged("C1", {"linear": {"ours": [-0.9, -1.0, -1.05, -0.95, -1.0]}}) is Verdict.TREND_HOLDS
    )


def test_superposition_that_is_not_strong_is_seen() -> None:
    assert judged("C5a", {"alpha 1": {"ours": [1.0, 1.0, 0.9]}}) is not Verdict.TREND_HOLDS
    assert judged("C5b", {"alpha 1": {"ours": [0.1, 0.2, 0.9]}}) is not Verdict.TREND_HOLDS


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny causal model as the hub stores it."""
    folder = tmp_path_factory.mktemp("model")
    build(small_config(vocab_size=300, hidden=16, layers=1, heads=2), 0).save_pretrained(folder)
    train_bpe([PROSE], 300).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_family_is_evaluated_as_the_hub_has_it(
    suffix: str, model_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("datasets", reason="extra hub not installed")
    rows = pd.DataFrame({"text": [PROSE, "", "It was over."]})
    if suffix == "jsonl":
        lines = (json.dumps(row) for row in rows.to_dict("records"))
        (tmp_path / "train.jsonl").write_text("\n".join(lines))
    else:
        rows.to_parquet(tmp_path / "train.parquet")
    source = language_models.TextSet(str(tmp_path), None, "train", lines=False)
    texts = language_models.read_texts(source, 1)
    assert texts == [PROSE]

    width, losses = language_models.evaluate(model_folder, {"prose": texts})
    assert width == 16
    suspect = pretrained.load(model_folder)
    ids = torch.tensor([suspect.tokenizer(PROSE)["input_ids"]])
    with torch.no_grad():
        logits = suspect.model(ids).logits
    expected = functional.cross_entropy(logits[0, :-1], ids[0, 1:])
    assert losses["prose"] == pytest.approx(float(expected), rel=1e-4)


def test_a_text_that_cannot_be_had_says_so(tmp_path: Path) -> None:
    source = language_models.TextSet(str(tmp_path / "absent"), None, "train", lines=False)
    with pytest.raises(DataUnavailable, match="data unavailable"):
        language_models.read_texts(source, 1)


def test_lines_are_joined_to_long_documents() -> None:
    lines = ["a b c", "", "d e", "f", "g h i j"]
    assert list(language_models.join_lines(lines, words=5)) == ["a b c\nd e", "f\ng h i j"]
    assert list(language_models.join_lines(lines, words=100)) == []


def test_output_rows_are_those_that_make_logits(model_folder: Path) -> None:
    model = pretrained.load(model_folder).model
    assert torch.equal(language_models.output_rows(model), model.get_output_embeddings().weight)
