"""semantics-tracing: items, CAS, DSS, patching and maps, against closed forms on a toy model."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats as sps

from stemma.papers.semantics_tracing import (
    answers,
    concepts,
    interventions,
    items,
    patching,
    study,
    tracing,
)
from stemma.papers.semantics_tracing.subject import Subject, batches, open_subject

NOUNS = items.read_nouns()


@pytest.fixture(scope="module")
def subject() -> Subject:
    return open_subject("toy", seed=1)


@pytest.fixture(scope="module")
def work() -> list[items.Item]:
    return items.make_items(NOUNS[:6], 2)


def test_items_are_balanced_and_lists_hold_no_answer() -> None:
    assert len(NOUNS) == len({noun.noun for noun in NOUNS}) == 48
    for noun in NOUNS:
        first, second = noun.senses
        answers_and_noun = {first.concept, second.concept, noun.noun, "yes", "no"}
        assert len(answers_and_noun) == 5
        assert not set(first.words) & set(second.words)
        for sense in noun.senses:
            sentence = set(re.findall(r"[a-z]+", sense.context.lower()))
            assert sense.context_word in sentence
            assert len(set(sense.words)) == 6
            lists = set(first.words) | set(second.words)
            assert not lists & (answers_and_noun | sentence)
            assert not sentence & answers_and_noun
    assert np.mean([q.answer for q in items.make_questions(NOUNS)]) == 0.5
    work = items.make_items(NOUNS, 4)
    assert len(work) == 48 * 2 * 4
    assert sum(x.gold == NOUNS[0].senses[0] for x in work) == 4


def test_prompts_read_as_english() -> None:
    bass = items.make_items(NOUNS[:1], 1)[1]
    assert bass.prompt == "I am at a concert. I see a bass. The bass is a kind of"
    assert bass.bare == "I see a bass. The bass is a kind of"
    assert bass.told("fish").startswith("A bass is a fish here. I am at a concert.")
    question = items.make_questions(NOUNS[:1])[2]
    assert question.prompt == "I am at a concert. I see a bass. Is it a fish?\nAnswer:"
    assert not question.answer
    assert items.with_article("unit") == "a unit"
    assert items.with_article("actor") == "an actor"
    assert len(items.empty_prompts(0)) == len(items.empty_questions()) == 8


def test_cas_has_its_closed_form_and_swaps_to_one_minus_itself() -> None:
    contextual, other = np.array([0.3, -0.1]), np.array([0.1, 0.1])
    assert concepts.cas(contextual, other) == pytest.approx(0.4 / 0.6)
    assert concepts.cas(contextual, other, "signed") == pytest.approx(0.5)
    assert concepts.cas(-contextual, other) == concepts.cas(contextual, other)
    assert concepts.cas(-contextual, other, "signed") < 0.5
    rng = np.random.default_rng(0)
    affinity = rng.uniform(-1, 1, (5, 3, 20))
    lists = np.argsort(rng.random((5, 20)), axis=1)[:, :12].reshape(5, 2, 6)
    for variant in ("abs", "signed", "centred"):
        curve = concepts.item_cas(affinity, lists, variant)
        assert curve.shape == (5, 3)
        assert curve.min() >= 0
        assert curve.max() <= 1
        np.testing.assert_allclose(
            concepts.item_cas(affinity, lists[:, ::-1], variant), 1 - curve, atol=1e-9
        )
    words = affinity[2, 1, lists[2]]
    expected = np.abs(words[0]).sum() / np.abs(words).sum()
    assert concepts.item_cas(affinity, lists, "abs")[2, 1] == pytest.approx(expected)


def test_affinities_are_cosines(subject: Subject) -> None:
    states = torch.randn(2, 3, 48)
    vectors = subject.word_vectors(["river", "music"])
    found = concepts.affinities(states, vectors)
    expected = torch.cosine_similarity(states[1, 2], vectors[0], dim=0)
    assert found.shape == (2, 3, 2)
    assert found[1, 2, 0] == pytest.approx(float(expected), abs=1e-6)


def test_markers_follow_their_definitions() -> None:
    curve = np.array([0.9, 0.9, 0.85, 0.86, 0.7, 0.4, 0.6, 0.4, 0.3, 0.2])
    assert concepts.markers(curve) == concepts.Markers(onset=2, inversion=4, commitment=7)
    assert concepts.markers(np.full(6, 0.9)) == concepts.Markers(-1, -1, -1)
    blip = np.array([0.9, 0.85, 0.9, 0.9, 0.9])
    assert concepts.markers(blip).onset == -1
    assert concepts.settled_layer(np.array([1.0, -1.0, 2.0, 3.0])) == 2
    assert concepts.settled_layer(np.array([1.0, 2.0])) == 0


def test_path_strength_is_the_sum_of_absolute_correlations() -> None:
    vectors = [torch.randn(40) for _ in range(3)]
    r = [abs(sps.pearsonr(vectors[i], vectors[i + 1]).statistic) for i in range(2)]
    assert concepts.path_strength(vectors) == pytest.approx(sum(r), abs=1e-6)


def test_dss_is_symmetric_and_two_thirds_when_all_correlations_are_alike() -> None:
    correct, incorrect = np.array([0.3, 1.2]), np.array([0.6, 0.2])
    np.testing.assert_allclose(
        concepts.dss(correct, incorrect) + concepts.dss(incorrect, correct), 1
    )
    alike = study.PathStrengths(np.full((1, 1), 0.5), np.full((1, 1, 2), 0.5))
    assert alike.dss(np.array([[0, 1]]), 0) == pytest.approx(2 / 3)


def test_path_strengths_equal_those_of_single_items(
    subject: Subject, work: list[items.Item]
) -> None:
    traces = study.read_items(subject, work)
    index = study.make_index(NOUNS[:6], work)
    states = study.concept_states(subject, index.concept_names, carried=False)
    found = study.path_strengths(traces, states).dss(study.chosen(index.concepts, index), 3)
    item = work[5]
    gold = states[index.concept_names.index(item.gold.concept), 3]
    other = states[index.concept_names.index(item.other.concept), 3]
    correct = concepts.path_strength([traces.context[5, 3], traces.noun[5, 3], gold])
    incorrect = concepts.path_strength([traces.noun[5, 3], other])
    assert found[5] == pytest.approx(float(correct / (correct + incorrect)), abs=1e-6)


def test_spans_are_the_tokens_of_the_word(subject: Subject) -> None:
    text = "I am at a concert. I see a bass. The bass is a kind of"
    ids = subject.encode(text)
    last = subject.span(text, "bass", last=True)
    assert subject.tokenizer.decode([ids[i] for i in last]).strip() == "bass"
    assert subject.span(text, "bass")[0] < last[0]
    with pytest.raises(ValueError, match="not in the prompt"):
        subject.span(text, "river")


def test_reading_equals_hidden_states_of_transformers(
    subject: Subject, work: list[items.Item]
) -> None:
    traces = study.read_items(subject, work)
    ids = torch.tensor([subject.encode(work[3].prompt)])
    with torch.inference_mode():
        output = subject.model(input_ids=ids, output_hidden_states=True)
    for layer in range(subject.layers - 1):
        torch.testing.assert_close(
            traces.answer[3, layer], output.hidden_states[layer + 1][0, -1], atol=1e-5, rtol=1e-4
        )
    expected = output.logits[0, -1].log_softmax(dim=-1)
    torch.testing.assert_close(traces.reading.log_probs[3], expected, atol=1e-5, rtol=1e-4)


def test_batches_have_one_length_and_hold_every_row_once() -> None:
    rows = [[0] * n for n in (3, 2, 3, 3, 2)]
    found = list(batches(rows, size=2))
    assert sorted(i for batch in found for i in batch) == list(range(5))
    assert all(len({len(rows[i]) for i in batch}) == 1 for batch in found)
    assert max(map(len, found)) == 2


def test_margins_are_calibrated_and_antisymmetric(subject: Subject, work: list[items.Item]) -> None:
    traces = study.read_items(subject, work)
    table = answers.answer_table(subject, work, traces.reading)
    assert table.bias[0] == pytest.approx(-table.bias[1])
    assert table.association[0] == pytest.approx(-table.association[1], abs=1e-5)
    np.testing.assert_array_equal(table.error, table.margin < 0)
    thing = items.Item("thing", work[0].gold, work[0].other, 0)
    empty = subject.answers(items.empty_prompts(0))
    mean = answers.pair_margins(subject, empty, [thing] * 8).mean()
    assert table.bias[0] == pytest.approx(mean, abs=1e-5)
    lens = study.calibrated_lens(subject, work, traces)
    np.testing.assert_allclose(lens[:, -1], table.margin, atol=1e-4)


def test_concepts_of_several_tokens_are_left_out(subject: Subject) -> None:
    odd = items.Noun("bass", (items.Sense("zyxwv", "", "", ()), NOUNS[0].senses[1]))
    assert answers.usable_nouns(subject, [NOUNS[0], odd]) == [NOUNS[0]]


def test_a_patch_with_own_states_changes_nothing(subject: Subject, work: list[items.Item]) -> None:
    ids = torch.tensor([subject.encode(work[0].prompt)] * 2)
    with torch.inference_mode(), patching.captured(subject.blocks) as outputs:
        clean = subject.logits(ids)
    where = [1, 4]
    own = patching.replace_at(0, where, outputs[2][0, where])
    strange = patching.replace_at(0, where, torch.randn(2, 48))
    with torch.inference_mode():
        with patching.edited([(subject.blocks[2], own)]):
            same = subject.logits(ids)
        with patching.edited([(subject.blocks[2], strange)]):
            other = subject.logits(ids)
        again = subject.logits(ids)
    torch.testing.assert_close(same, clean)
    assert not torch.allclose(other[0], clean[0], atol=1e-4)
    torch.testing.assert_close(other[1], clean[1])
    torch.testing.assert_close(again, clean)


def test_hooks_are_removed_when_the_block_fails(subject: Subject) -> None:
    before = [len(block._forward_hooks) for block in subject.blocks]
    with pytest.raises(ZeroDivisionError), patching.captured(subject.blocks):
        assert 1 / (len(subject.blocks[0]._forward_hooks) - before[0] - 1)
    assert [len(block._forward_hooks) for block in subject.blocks] == before


def test_patches_end_in_the_donors_answer_and_in_nothing(
    subject: Subject, work: list[items.Item]
) -> None:
    item = work[2]
    last = subject.layers - 1
    patched = interventions.patch(subject, item, ["river", "music"], [0, last])
    own = subject.answers([item.prompt])
    margin = answers.pair_margins(subject, own, [item])[0]
    assert patched.margins.shape == (2, 2, 2)
    np.testing.assert_allclose(patched.margins[:, 0, 1], patched.donors, atol=1e-4)
    np.testing.assert_allclose(patched.margins[:, 1, 1], margin, atol=1e-4)
    assert abs(patched.margins[:, :, 0] - margin).min() > 1e-6
    assert patched.changed[:, :, 0].all()
    assert patched.changed[:, 0, 1].all()
    assert not patched.changed[:, 1, 1].any()


def test_cut_attention_hides_the_context(subject: Subject) -> None:
    first = items.make_items(NOUNS[:1], 1)[0]
    ids = subject.encode(first.prompt)
    context = subject.overlapping(first.prompt, 0, len(first.gold.context))
    later = range(max(context) + 1, len(ids))
    changed = list(ids)
    for position in context:
        changed[position] = 7
    mask = patching.blocked_attention(len(ids), later, context)
    with torch.inference_mode():
        one, two = (
            subject.logits(torch.tensor([row]), attention_mask=mask) for row in (ids, changed)
        )
        plain = subject.logits(torch.tensor([ids]))
        nothing = patching.blocked_attention(len(ids), [0], [0])
        same = subject.logits(torch.tensor([ids]), attention_mask=nothing)
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(same, plain)
    assert not torch.allclose(one, plain, atol=1e-4)
    effects = pd.concat(interventions.intervene(subject, items.make_items(NOUNS[:3], 2)))
    assert sorted(effects.index) == list(range(12))
    pair = subject.token(first.gold.concept), subject.token(first.other.concept)
    assert effects.loc[0, "attention later -> context"] == pytest.approx(
        float(one[0, pair[0]] - one[0, pair[1]]), abs=1e-5
    )
    assert effects.loc[0, "none"] == pytest.approx(
        float(plain[0, pair[0]] - plain[0, pair[1]]), abs=1e-5
    )
    assert effects.loc[0].nunique() == 5


def test_commitment_is_the_first_layer_that_stays_below_half() -> None:
    assert interventions.commitment_layer([0, 3, 6, 9], [0.8, 0.9, 0.4, 0.0]) == 6
    assert interventions.commitment_layer([0, 3, 6, 9], [0.1, 0.2, 0.1, 0.9]) == 10
    assert interventions.early_and_late(range(0, 30, 3), 30) == ([0, 3, 6, 9], [24, 27])


def test_patch_rows_give_flip_rates_and_commitments(
    subject: Subject, work: list[items.Item]
) -> None:
    parts = study.patch_rows(subject, work[3:6], [0.0, 0.0, 0.0], [0, 2, 5], seed=0)
    rows = pd.concat(parts, ignore_index=True)
    assert len(rows) == 3 * 2 * 2 * 3
    rates = interventions.flip_rates(rows, "gold")
    mine = rows[(rows.donor == "gold") & (rows.site == "answer") & (rows.noun == work[5].noun)]
    expected = (mine[mine.layer == 5].margin > 0).mean()
    assert rates.loc[("answer", work[5].noun), 5] == expected
    fixed = rows.assign(margin=np.where(rows.layer < 5, 1.0, -1.0))
    assert study.patched_commitments(fixed, "prompt").eq(5).all()
    assert study.patched_commitments(rows.assign(margin=1.0), "prompt").eq(6).all()
    assert study.patched_commitments(rows.assign(margin=-1.0), "prompt").empty


def test_nodes_are_the_best_merged_words(subject: Subject) -> None:
    state = torch.randn(48)
    nodes = tracing.top_nodes(subject, state, 10)
    scores = subject.unembedding @ state
    assert len(nodes) == 10
    assert len({node.word for node in nodes}) == 10
    assert all(a.score >= b.score for a, b in pairwise(nodes))
    for node in nodes:
        assert node.score == pytest.approx(float(scores[list(node.tokens)].sum()), rel=1e-5)
        for token in node.tokens:
            assert subject.tokenizer.decode([token]).strip().lower() == node.word


def test_edges_are_causal_effects_of_one_position(subject: Subject, work: list[items.Item]) -> None:
    (one,) = tracing.trace(subject, work[0].prompt, [2], count=12, kept=20)
    ids = list(one.tokens)
    dot = subject.encode(".")[0]
    states = subject.read([work[0].prompt], [[[p] for p in range(len(ids))]]).states[0, 2]
    assert one.edges
    for edge in one.edges[:5]:
        source, target = one.nodes[edge.source], one.nodes[edge.target]
        vector = subject.unembedding[list(source.tokens)].mean(dim=0)
        assert int((states @ vector).argmax()) == edge.position < len(ids) - 1
        corrupted = [*ids[: edge.position], dot, *ids[edge.position + 1 :]]
        clean, other = (subject.next_logits([row])[0].softmax(dim=-1) for row in (ids, corrupted))
        weight = (clean - other)[list(target.tokens)].sum()
        assert edge.weight == pytest.approx(float(weight), abs=1e-6)
    totals = tracing.position_weights([one])
    assert totals.sum() == pytest.approx(sum(abs(edge.weight) for edge in one.edges))
    assert totals[-1] == 0
    graph = tracing.as_graph(one, 5)
    assert graph.number_of_nodes() == 5


def test_a_model_is_opened_from_a_folder(subject: Subject, tmp_path: Path) -> None:
    subject.model.save_pretrained(tmp_path)
    subject.tokenizer.save_pretrained(tmp_path)
    opened = open_subject(str(tmp_path))
    text = NOUNS[0].senses[0].context
    torch.testing.assert_close(
        opened.answers([text]).log_probs, subject.answers([text]).log_probs, atol=1e-5, rtol=1e-5
    )
    assert opened.layers == 6
