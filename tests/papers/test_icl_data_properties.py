"""The sequences and models of icl-data-properties: what is drawn, what is learned from it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from icl_house import clusters
from scipy import stats
from torch import nn

from stemma.papers.icl_data_properties import characters, sequences, training
from stemma.papers.icl_data_properties.network import (
    Attention,
    SequenceModel,
    Spec,
    last_state,
    make_resnet,
    position_signals,
)
from stemma.papers.icl_data_properties.sequences import Regime
from stemma.papers.icl_data_properties.training import Condition, Recipe

RNG = np.random.default_rng


def test_bursty_sequences_hold_the_query_class_thrice() -> None:
    drawn = sequences.draw_training(RNG(0), 4000, Regime(1500, p_bursty=1.0))
    in_context = (drawn.classes[:, :-1] == drawn.classes[:, -1:]).sum(axis=1)
    assert in_context.min() == 3
    assert (in_context == 3).mean() > 0.99  # more if the classes coincide or a filler is of them
    counts = np.array([np.unique(row, return_counts=True)[1].max() for row in drawn.classes[:, :8]])
    assert counts.min() >= 3


def test_the_query_is_of_either_class_and_of_no_fixed_place() -> None:
    drawn = sequences.draw_training(RNG(1), 20_000, Regime(1500, p_bursty=1.0))
    same = drawn.classes[:, :-1] == drawn.classes[:, -1:]
    expected = np.full(8, same.sum() / 8)
    assert stats.chisquare(same.sum(axis=0), expected).pvalue > 1e-3


def test_without_burstiness_the_query_class_is_rarely_in_context() -> None:
    regime = Regime(100, p_bursty=0.0)
    drawn = sequences.draw_training(RNG(2), 20_000, regime)
    rate = (drawn.classes[:, :-1] == drawn.classes[:, -1:]).any(axis=1).mean()
    assert rate == pytest.approx(1 - 0.99**8, abs=0.01)
    mixed = sequences.draw_training(RNG(2), 20_000, replace(regime, p_bursty=0.6))
    share = ((mixed.classes[:, :-1] == mixed.classes[:, -1:]).sum(axis=1) >= 3).mean()
    assert share == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize("zipf", [0.0, 1.0, 2.0])
def test_classes_follow_the_zipf_distribution(zipf: float) -> None:
    regime = Regime(30, p_bursty=0.0, zipf=zipf)
    drawn = sequences.draw_training(RNG(4), 20_000, regime)
    counts = np.bincount(drawn.classes.ravel(), minlength=30)
    expected = np.arange(1, 31.0) ** -zipf
    assert stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > 1e-3


def test_labels_never_change_unless_polysemous() -> None:
    drawn = sequences.draw_training(RNG(5), 2000, Regime(50))
    assert (drawn.labels == drawn.classes).all()


def test_polysemous_labels_are_one_a_sequence_and_all_in_turn() -> None:
    drawn = sequences.draw_training(RNG(6), 5000, Regime(20, polysemy=10))
    assert (drawn.labels // 10 == drawn.classes).all()
    same_class = drawn.classes[:, :, None] == drawn.classes[:, None, :]
    same_label = drawn.labels[:, :, None] == drawn.labels[:, None, :]
    assert (same_class == same_label).all()
    query = drawn.labels[:, -1] % 10
    assert stats.chisquare(np.bincount(query, minlength=10)).pvalue > 1e-3


def test_no_support_lacks_the_query_class_and_follows_its_weights() -> None:
    regime = Regime(12, zipf=1.0)
    drawn = sequences.draw_no_support(RNG(7), 20_000, regime)
    assert not (drawn.classes[:, :-1] == drawn.classes[:, -1:]).any()
    w = sequences.weights(regime)
    counts = np.bincount(drawn.classes[:, -1], minlength=12)
    assert stats.chisquare(counts, w * len(drawn.classes)).pvalue > 1e-3
    of_first = drawn.classes[drawn.classes[:, -1] == 0, :-1]
    assert np.bincount(of_first.ravel(), minlength=12)[1] / of_first.size == pytest.approx(
        w[1] / (1 - w[0]), abs=0.01
    )


def test_fewshot_deals_new_labels_to_distinct_held_out_classes() -> None:
    pool = np.arange(100, 150)
    drawn = sequences.draw_fewshot(RNG(8), 5000, pool, Regime(100), 4)
    assert np.isin(drawn.classes, pool).all()
    for label in (0, 1):
        assert ((drawn.labels[:, :-1] == label).sum(axis=1) == 4).all()
    same_class = drawn.classes[:, :, None] == drawn.classes[:, None, :]
    assert (same_class == (drawn.labels[:, :, None] == drawn.labels[:, None, :])).all()
    # A class is labelled 0 as often as 1, and the query's label is balanced.
    by_class = [drawn.labels[drawn.classes[:, -1] == c, -1].mean() for c in pool]
    assert stats.kstest((np.array(by_class) - 0.5) * 20, "norm").pvalue > 1e-3
    assert drawn.labels[:, -1].mean() == pytest.approx(0.5, abs=0.03)


def test_distinct_numbers_are_uniform_over_ordered_pairs() -> None:
    pairs = sequences.distinct(RNG(9), 24_000, 5, 3)
    assert (np.sort(pairs, axis=1)[:, 1:] > np.sort(pairs, axis=1)[:, :-1]).all()
    codes = pairs @ np.array([25, 5, 1])
    found, counts = np.unique(codes, return_counts=True)
    assert len(found) == 60
    assert stats.chisquare(counts).pvalue > 1e-3


def test_exemplars_are_drawn_without_replacement_within_a_class_only() -> None:
    classes = np.tile([0, 0, 0, 1, 1, 1, 2, 3, 0], (20_000, 1))
    drawn = sequences.draw_exemplars(RNG(10), classes, "all")
    for group in ([0, 1, 2, 8], [3, 4, 5]):
        ordered = np.sort(drawn[:, group], axis=1)
        assert (ordered[:, 1:] > ordered[:, :-1]).all()
    assert stats.chisquare(np.bincount(drawn[:, 8], minlength=20)).pvalue > 1e-3
    assert (drawn[:, 0] == drawn[:, 3]).mean() == pytest.approx(0.05, abs=0.01)
    assert not sequences.draw_exemplars(RNG(10), classes, "single").any()


def images(count: int = 12) -> characters.Pixels:
    return RNG(11).integers(0, 256, (count, 20, 14, 14)).astype(np.uint8)


def test_held_out_characters_and_their_rotations_are_never_trained_on() -> None:
    split = characters.split_characters(12, 3, seed=5)
    assert sorted([*split.train, *split.holdout]) == list(range(12))
    pictures = images()
    made = characters.make_stimuli(pictures, split, components=0, augmented=True, seed=5)
    assert (made.train, made.holdout) == (72, 3)
    assert not set(made.bases[: made.train]) & set(made.bases[made.train :])
    trained = {picture.tobytes() for picture in made.values[: made.train].reshape(-1, 14, 14)}
    for base in split.holdout:
        for variant in characters.augment(pictures[base]).reshape(-1, 14, 14):
            assert variant.tobytes() not in trained
    # The first classes are the upright characters, in the order of the split.
    np.testing.assert_array_equal(made.values[:9], pictures[split.train])


def test_the_eight_variants_are_the_symmetries_of_the_square() -> None:
    variants = characters.augment(images(1)[0, 0])
    assert len({v.tobytes() for v in variants}) == 8
    closed = {np.rot90(v).tobytes() for v in variants} | {v.T.tobytes() for v in variants}
    assert closed == {v.tobytes() for v in variants}


def test_components_know_training_characters_only_and_whiten_them() -> None:
    split = characters.split_characters(12, 3, seed=5)
    pictures = images()
    made = characters.make_stimuli(pictures, split, components=8, augmented=False, seed=5)
    other = pictures.copy()
    other[split.holdout] = 255 - other[split.holdout]
    again = characters.make_stimuli(other, split, components=8, augmented=False, seed=5)
    np.testing.assert_array_equal(made.values[: made.train], again.values[: made.train])
    flat = made.values[: made.train].reshape(-1, 8)
    np.testing.assert_allclose(np.cov(flat.T), np.eye(8), atol=1e-3)


def test_noise_on_components_is_projected_pixel_noise() -> None:
    split = characters.split_characters(12, 3, seed=5)
    made = characters.make_stimuli(images(), split, components=8, augmented=False, seed=5)
    rows = images()[split.train].reshape(-1, 196)
    pca = characters.fit_components(rows, 8, seed=5)
    noise = 0.1 * RNG(12).standard_normal((20_000, 196))
    start = rows[:1] / 255
    moved = pca.transform(start + noise) - pca.transform(start)
    np.testing.assert_allclose(moved.std(axis=0), 0.1 * made.noise, rtol=0.03)
    np.testing.assert_allclose(np.corrcoef(moved.T), np.eye(8), atol=0.03)


def test_the_last_state_is_that_of_the_whole_layer() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        16, 4, 64, 0.0, "gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    tokens = torch.randn(5, 17, 16, dtype=torch.float64)
    mask = nn.Transformer.generate_square_subsequent_mask(17, dtype=torch.float64)
    whole = layer(tokens, src_mask=mask, is_causal=True)[:, -1]
    torch.testing.assert_close(last_state(layer, tokens), whole, rtol=1e-12, atol=1e-12)


def test_layers_start_from_different_weights() -> None:
    first, second = Attention(Spec(layers=2, width=16, heads=4)).layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


def test_tokens_alternate_and_the_query_has_no_label() -> None:
    torch.manual_seed(0)
    model = SequenceModel(Spec(width=16, heads=4), 7, n_features=5, length=9)
    seen: list[torch.Tensor] = []
    model.core.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    stimuli, labels = torch.randn(2, 9, 5), torch.randint(0, 7, (2, 8))
    model(stimuli, labels)
    tokens = seen[0] - position_signals(17, 16)
    assert tokens.shape == (2, 17, 16)
    torch.testing.assert_close(tokens[:, 0::2], model.encoder(stimuli))
    torch.testing.assert_close(tokens[:, 1::2], model.embedding(labels))
    assert model.embedding.weight.std().item() == pytest.approx(0.02, rel=0.3)


def test_position_signals_are_sines_then_cosines() -> None:
    signals = position_signals(17, 64)
    assert signals[3, 0] == pytest.approx(np.sin(3))
    assert signals[3, 32] == pytest.approx(np.cos(3))
    assert signals[5, 16] == pytest.approx(np.sin(5 / 30**0.5))


@pytest.mark.parametrize(("small", "side"), [(True, 28), (False, 105)])
def test_residual_networks_give_one_vector_a_picture(small: bool, side: int) -> None:
    net = make_resnet(64, small=small)
    assert net(torch.randn(3, 1, side, side)).shape == (3, 64)
    convolutions = [
        m for m in net.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)
    ]
    assert len(convolutions) == (7 if small else 16)


def recipe(steps: int, **changes: object) -> Recipe:
    plain = Recipe(steps, 32, 20, "constant", 1.0, eval_every=steps, eval_sequences=400)
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_only_the_query_is_learned_from() -> None:
    """Context labels are input, not target: two orders of the context give one query loss each."""
    stimuli = clusters()
    condition = Condition("x", Regime(40), Spec(layers=1, width=16, heads=4), 1e-3)
    model = training.build(condition, stimuli, seed=1)
    feed = training.Feed(stimuli, 0.0, "cpu", 1)
    x, labels = feed(sequences.draw_training(RNG(0), 4, condition.regime))
    logits = model(x, labels[:, :-1])
    assert logits.shape == (4, 40)
    changed = labels.clone()
    changed[:, -1] = 0  # the query's own label is no input
    torch.testing.assert_close(model(x, changed[:, :-1]), logits)


@pytest.mark.parametrize("arch", ["transformer", "lstm", "rnn"])
def test_models_learn_in_weights_from_easy_classes(arch: str) -> None:
    """Unmistakable classes without burstiness: a classifier, and no in-context learning."""
    condition = Condition("x", Regime(20, p_bursty=0.0), Spec(arch, 1, 32, 4), 1e-2)
    rows = training.train_run(clusters(20), condition, recipe(150), seed=2)
    assert [row["step"] for row in rows] == [0, 150]
    assert rows[1]["iwl"] > 0.9 > rows[0]["iwl"]
    assert rows[1]["loss"] < np.log(20) - 1


def test_an_untrained_model_is_at_chance() -> None:
    condition = Condition("x", Regime(40), Spec(width=16, heads=4), 1e-3)
    accuracies = [
        training.train_run(clusters(), condition, recipe(1, eval_sequences=300), seed)[0]["icl"]
        for seed in range(8)
    ]
    assert np.mean(accuracies) == pytest.approx(0.5, abs=0.05)


def test_runs_are_reproducible_and_paired() -> None:
    condition = Condition("x", Regime(40), Spec(layers=1, width=16, heads=4), 1e-3)
    first = training.train_run(clusters(), condition, recipe(20), seed=4)
    again = training.train_run(clusters(), condition, recipe(20), seed=4)
    assert first[1:] == again[1:]
    other = replace(condition, regime=Regime(40, p_bursty=0.0))
    start = training.train_run(clusters(), other, recipe(20), seed=4)
    assert start[0]["icl"] == first[0]["icl"]  # same weights, same evaluation sequences
    assert start[1]["loss"] != first[1]["loss"]


@pytest.mark.parametrize("encoder", ["small_resnet", "resnet"])
def test_pictures_train_too(encoder: str) -> None:
    side = 28 if encoder == "small_resnet" else 105
    pictures = RNG(1).integers(0, 256, (8, 20, side, side)).astype(np.uint8)
    split = characters.split_characters(8, 3, seed=0)
    stimuli = characters.make_stimuli(pictures, split, components=0, augmented=True, seed=0)
    regime = Regime(40, zipf=1.0, exemplars="noise")
    condition = Condition("x", regime, Spec(layers=1, width=16, heads=4, encoder=encoder), 1e-3)
    tiny = recipe(2, batch=4, warmup=1, eval_sequences=10, by_rank=True)
    row = training.train_run(stimuli, condition, tiny, seed=0)[-1]
    assert np.isfinite(row["loss"])
    assert {"icl", "icl_open", "icl_rare", "icl_common", "iwl", "iwl_common"} <= row.keys()
