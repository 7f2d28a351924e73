"""Span corruption, prefix attention and losses: closed forms, independent ones, no leaks."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from stemma.papers.codegen2 import attention, baselines, data, descent, evaluation, training
from stemma.papers.codegen2 import objectives as obj

SPECIALS = data.Specials(0, 90, 91, (92, 93, 94, 95))
LAW = obj.SpanLaw(0.05, 0.5, 8.0)
CTX, VOCAB = 48, 96
RECIPE = training.Recipe(32, 2, 2, 4, 0.01)


@pytest.fixture(scope="module")
def model():
    model = training.build(RECIPE, VOCAB, CTX, 3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # far from the initial model, whose logits are all alike
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    return model.eval()


def random_rows(n, seed=0):
    return np.random.default_rng(seed).integers(1, 90, (n, CTX))


# Span corruption


def test_the_format_is_that_of_the_model_card():
    row = np.arange(1, 11)
    changed = obj.corrupt(row, [obj.Span(2, 4), obj.Span(7, 10)], SPECIALS)
    context = [1, 2, 92, 5, 6, 7, 93, 0, 90]
    assert changed.tokens.tolist() == [*context, 92, 3, 4, 91, 93, 8, 9, 10, 91]
    assert changed.boundary == len(context)


def test_rows_are_restored_and_every_example_fills_the_context():
    rng = np.random.default_rng(1)
    for row in random_rows(300):
        n, spans = obj.draw_spans(LAW, CTX, rng)
        changed = obj.corrupt(row[:n], spans, SPECIALS)
        assert len(changed.tokens) == CTX
        assert changed.tokens[changed.boundary - 1] == SPECIALS.separator
        np.testing.assert_array_equal(obj.restore(changed.tokens, SPECIALS), row[:n])


def test_spans_follow_their_law():
    rng = np.random.default_rng(2)
    law = obj.SpanLaw(0.1, 0.5, 10.0)
    shares, middles = [], []
    for _ in range(4000):
        n, spans = obj.draw_spans(law, 200, rng)
        edges = [edge for span in spans for edge in span]
        assert edges == sorted(set(edges))
        assert edges[0] >= 0
        assert edges[-1] <= n
        shares.append(sum(b - a for a, b in spans) / n)
        middles.append(np.mean([(a + b) / 2 / n for a, b in spans]))
    assert abs(np.mean(shares) - 0.3) < 4 * 0.4 / math.sqrt(12 * 4000) + 0.005
    assert abs(np.mean(middles) - 0.5) < 4 * 0.3 / math.sqrt(4000)


def test_spans_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        obj.corrupt(np.arange(5), [obj.Span(2, 4), obj.Span(3, 5)], SPECIALS)
    with pytest.raises(ValueError, match="do not fit"):
        obj.corrupt(np.arange(5), [obj.Span(3, 6)], SPECIALS)


def test_examples_carry_attention_and_loss():
    rows = random_rows(200)
    chosen = obj.choose_span_rows(200, 0.25, np.random.default_rng(0))
    assert chosen.sum() == 50

    def made(objective):
        return obj.make_examples(rows, chosen, objective, LAW, SPECIALS, np.random.default_rng(5))

    causal, prefix = made(obj.Objective(0.25, False)), made(obj.Objective(0.25, True))
    targets = made(obj.Objective(0.25, False, targets_only=True))
    np.testing.assert_array_equal(causal[:, :CTX], prefix[:, :CTX])
    np.testing.assert_array_equal(causal[~chosen, :CTX], rows[~chosen])
    assert (causal[:, CTX:] == [0, 1]).all()
    boundaries = 1 + np.argmax(causal[chosen, :CTX] == SPECIALS.separator, axis=1)
    np.testing.assert_array_equal(prefix[chosen, CTX:], np.stack([boundaries] * 2, axis=1))
    np.testing.assert_array_equal(targets[chosen, CTX + 1], boundaries)
    assert (targets[:, CTX] == 0).all()
    assert (prefix[~chosen, CTX + 1] == np.maximum(1, prefix[~chosen, CTX])).all()
    assert obj.supervised_tokens(causal) == 200 * (CTX - 1)
    drawn = prefix[~chosen, CTX]
    assert abs(drawn.mean() - (CTX - 1) / 2) < 4 * CTX / math.sqrt(12 * 150)


# Attention and loss


def hidden(model, ids, prefix):
    with torch.inference_mode():
        return attention.hidden_of(model, ids, torch.tensor([prefix]))


def test_a_prefix_is_seen_in_both_directions_and_nothing_else(model):
    ids = torch.from_numpy(random_rows(1, 4))
    for prefix in (0, 10, CTX):
        base = hidden(model, ids, prefix)
        for j in range(1, CTX):
            other = ids.clone()
            other[0, j] = other[0, j] % 89 + 1
            moved = (hidden(model, other, prefix) - base)[0].abs().amax(dim=1)
            assert (moved[:j] > 0).all() if j < prefix else (moved[:j] == 0).all()
            assert (moved[j:] > 0).all()


def test_future_targets_do_not_leak(model):
    ids = random_rows(1, 5)[0]
    n, spans = obj.draw_spans(LAW, CTX, np.random.default_rng(3))
    changed = obj.corrupt(ids[:n], spans, SPECIALS)
    tokens = torch.from_numpy(changed.tokens)[None]
    reach = torch.tensor([changed.boundary])
    with torch.inference_mode():
        losses = attention.token_losses(model, tokens, reach)
        for t in range(changed.boundary, CTX):
            later = tokens.clone()
            later[0, t:] = (later[0, t:] + 1) % VOCAB
            other = attention.token_losses(model, later, reach)
            # Column j belongs to token j + 1, which is predicted from what stands before it.
            torch.testing.assert_close(other[0, : t - 1], losses[0, : t - 1], rtol=0, atol=0)


def test_attention_agrees_with_a_loop_over_rows(model):
    """Independent: each target alone, the model being given only what it may see."""
    ids = torch.from_numpy(random_rows(1, 6))
    prefix = 7
    with torch.inference_mode():
        together = attention.token_losses(model, ids, torch.tensor([prefix]))[0]
        for t in (prefix, prefix + 5, CTX - 1):
            allowed = torch.ones(1, 1, t, t, dtype=torch.bool).tril()
            allowed[..., :prefix] = True
            logits = model(input_ids=ids[:, :t], attention_mask=allowed, use_cache=False).logits
            loss = functional.cross_entropy(logits[0, -1:], ids[0, t : t + 1])
            torch.testing.assert_close(together[t - 1], loss, rtol=1e-4, atol=1e-4)


def test_the_loss_is_the_mean_over_supervised_tokens(model):
    rows = random_rows(3, 7)
    examples = np.concatenate([rows, [[0, 1], [6, 6], [0, 20]]], axis=1)
    with torch.inference_mode():
        value = attention.example_loss(model, torch.from_numpy(examples))
        single = [
            attention.token_losses(model, torch.from_numpy(r[None]), torch.tensor([p]))[0, f - 1 :]
            for r, p, f in zip(rows, (0, 6, 0), (1, 6, 20), strict=True)
        ]
    torch.testing.assert_close(value, torch.cat(single).mean(), rtol=1e-5, atol=1e-6)


def test_the_gradient_of_a_prefix_token_is_nothing_as_a_target(model):
    """A prefix-LM earns nothing for copying what it sees."""
    row = random_rows(1, 8)
    examples = torch.from_numpy(np.concatenate([row, [[20, 20]]], axis=1))
    own = attention.example_loss(model, examples)
    alone = attention.token_losses(model, examples[:, :CTX], torch.tensor([20]))[0, 19:].mean()
    torch.testing.assert_close(own, alone)


def test_a_model_learns_to_infill_what_only_the_suffix_tells():
    """Rows are f f w f w: the hole's content stands behind it alone."""
    words = np.random.default_rng(9).integers(1, 9, 640)
    rows = np.full((640, 5), 20)
    rows[:, 2] = rows[:, 4] = words
    changed = [obj.corrupt(row, [obj.Span(2, 3)], SPECIALS) for row in rows]
    examples = np.array([[*c.tokens.tolist(), 0, c.boundary] for c in changed])
    recipe = training.Recipe(32, 1, 2, 16, 0.01)
    model = training.build(recipe, VOCAB, 32, 1)
    for _ in range(4):
        training.fit(model, examples, recipe, "constant")
    holes = [data.Hole([20, 20], [word], [20, word]) for word in range(1, 9)]
    widths = np.ones(VOCAB, np.int64)
    masked = evaluation.ask(holes, "masked", SPECIALS)
    left = evaluation.ask(holes, "left only", SPECIALS)
    assert evaluation.bits_per_byte(model, masked, widths, prefix=False) < 1.0
    assert evaluation.bits_per_byte(model, left, widths, prefix=False) > 2.0


# Measurements


def test_uniform_logits_give_the_entropy_of_the_alphabet(model):
    flat = training.build(RECIPE, VOCAB, CTX, 0)
    with torch.no_grad():
        for parameter in flat.parameters():
            parameter.zero_()
    rows = random_rows(5)
    widths = np.full(VOCAB, 3)
    value = evaluation.bits_per_byte(flat, evaluation.whole_rows(rows), widths, prefix=False)
    assert value == pytest.approx(math.log2(VOCAB) / 3)


def test_holes_are_put_in_three_formats_and_only_the_line_is_scored():
    hole = data.Hole([1, 2], [3, 4, 5], [6])
    longer = data.Hole([1, 2, 3, 4], [5], [6, 7])
    expected = {
        "left only": [1, 2, 3, 4, 5],
        "suffix first": [6, 1, 2, 3, 4, 5],
        "masked": [1, 2, 92, 6, 0, 90, 92, 3, 4, 5],
    }
    for form, ids in expected.items():
        asked = evaluation.ask([hole, longer], form, SPECIALS)
        assert asked.ids[0, : len(ids)].tolist() == ids
        assert asked.ids[0][evaluation.scored(asked)[0]].tolist() == [3, 4, 5]
        assert asked.ids[1][evaluation.scored(asked)[1]].tolist() == [5]


def test_padding_does_not_move_a_score(model):
    hole, longer = data.Hole([1, 2], [3, 4], [6]), data.Hole([1] * 9, [5] * 6, [6, 7])
    for prefix in (False, True):
        alone = evaluation.losses_of(model, evaluation.ask([hole], "masked", SPECIALS), prefix)
        asked = evaluation.ask([hole, longer], "masked", SPECIALS)
        padded = evaluation.losses_of(model, asked, prefix)
        assert padded[0].sum() == pytest.approx(alone.sum(), rel=1e-5)


def test_the_probe_finds_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], 40)
    noise = rng.standard_normal((120, 8))
    assert abs(evaluation.probe_accuracy(noise, labels, 0) - 1 / 3) < 0.17
    signal = noise + 3 * np.eye(8)[np.repeat([0, 1, 2], 40)]
    assert evaluation.probe_accuracy(signal, labels, 0) > 0.9


def test_trigram_probabilities_add_up_and_match_a_hand_count():
    rows = np.array([[1, 2, 3, 1, 2, 4]])
    model = baselines.Trigram(rows, 5)
    for history in ((), (1,), (1, 2), (4, 4), (3, 3)):
        assert sum(model.probability(history, w) for w in range(5)) == pytest.approx(1)
    # Unigram of 3: (1 + 4/5) / (6 + 4); after 2: one of two, two types; after 1 2 likewise.
    unigram = (1 + 4 / 5) / 10
    bigram = (1 + 2 * unigram) / 4
    assert model.probability((2,), 3) == pytest.approx(bigram)
    assert model.probability((1, 2), 3) == pytest.approx((1 + 2 * bigram) / 4)


def test_the_test_of_descent_is_level_for_innocents_and_finds_the_base():
    """A tiny corpus, where order leaves a strong mark."""
    rows = random_rows(700, 11)
    corpus = data.Corpus(
        None, SPECIALS, np.ones(VOCAB, np.int64), {data.CODE: rows}, {}, np.array([]), [], {}
    )
    family = descent.trace(
        corpus,
        obj.Objective(0.5, False),
        LAW,
        training.Recipe(64, 1, 2, 4, 0.01),
        examples=300,
        more=16,
        seed=3,
        processes=1,
    )
    assert family.results[descent.BASE].p < 0.01
    assert family.results[descent.SIBLING].p > 0.001
    assert family.results[descent.STRANGER].p > 0.001
