"""Hooks, attribution and scoring: against explicit computations, on tiny models of each kind."""

import numpy as np
import pytest
import torch
from tiny_heads import HEADS, VOCABULARY, WIDTH, make_model, make_tokenizer
from torch.nn import functional

from stemma.models import pretrained
from stemma.papers.factual_recall import heads, scoring
from stemma.papers.factual_recall.heads import Head
from stemma.papers.factual_recall.scoring import Question


@pytest.fixture(scope="module", params=["llama", "gpt2", "gpt_neox"])
def model(request):
    return make_model(request.param)


def draw_questions(n=5, answers=2):
    rng = np.random.default_rng(1)

    def tokens(low, high):
        return tuple(rng.integers(1, VOCABULARY, rng.integers(low, high)).tolist())

    return [Question(tokens(4, 9), tuple(tokens(1, 5) for _ in range(answers))) for _ in range(n)]


@torch.inference_mode()
def slow_log_prob(model, prompt, answer):
    """One answer at a time, no batch, no padding, no shared rows."""
    tokens = torch.tensor([[*prompt, *answer]])
    logits = model(tokens).logits.log_softmax(dim=-1)[0]
    found = [float(logits[len(prompt) - 1 + j, t]) for j, t in enumerate(answer)]
    return sum(found), found[0]


def test_shared_rows_equal_one_pass_for_each_answer(model):
    questions = draw_questions(answers=3)
    found = scoring.log_probs(model, questions, batch_size=2)
    for i, (prompt, answers) in enumerate(questions):
        for j, answer in enumerate(answers):
            whole, first = slow_log_prob(model, prompt, answer)
            assert found.whole[0, i, j] == pytest.approx(whole, abs=1e-4)
            assert found.first[0, i, j] == pytest.approx(first, abs=1e-4)


def test_a_factor_of_one_changes_not_a_bit_and_others_do(model):
    questions = draw_questions()
    head = Head(1, 2)
    plain, one, minus = scoring.log_probs(model, questions, [{}, {head: 1.0}, {head: -1.0}]).whole
    assert np.array_equal(plain, one)
    assert not np.allclose(plain, minus)
    assert np.array_equal(plain, scoring.log_probs(model, questions).whole[0])  # hooks are gone


def test_going_on_from_a_layer_equals_the_whole_pass(model):
    questions = draw_questions()
    scaling = {Head(2, 1): -2.0, Head(1, 3): 3.0}
    found = scoring.log_probs(model, questions, [scaling]).whole[0]
    with heads.scaled(model, scaling):
        expected = [[slow_log_prob(model, q.prompt, a)[0] for a in q.answers] for q in questions]
    assert np.allclose(found, expected, atol=1e-4)


@torch.inference_mode()
def test_only_one_heads_slice_changes(model):
    tokens = torch.tensor([draw_questions()[0].prompt])
    outputs = heads.parts(model).outputs
    kept = {}
    for scaling in ({}, {Head(1, 2): 5.0}):
        seen = []
        with heads.scaled(model, scaling):  # a hook set after ours sees what ours made
            hook = outputs[1].register_forward_pre_hook(lambda _, x, seen=seen: seen.append(x[0]))
            model(tokens)
            hook.remove()
        kept[bool(scaling)] = seen[0]
    width = WIDTH // HEADS
    changed = (kept[True] != kept[False]).any(dim=(0, 1)).nonzero()[:, 0].tolist()
    assert changed == list(range(2 * width, 3 * width))
    assert torch.equal(kept[True][..., changed], 5.0 * kept[False][..., changed])


@torch.inference_mode()
def test_scaling_z_equals_scaling_the_values_of_the_head():
    """The paper's hook, written out: GPT-2's own value vectors of one head times alpha."""
    model = make_model("gpt2")
    tokens = torch.tensor([[3, 9, 27, 31, 45]])
    head, alpha, width = Head(1, 2), -1.5, WIDTH // HEADS

    def scale_values(module, inputs, output):
        start = 2 * WIDTH + head.number * width
        output[..., start : start + width] *= alpha
        return output

    handle = model.transformer.h[1].attn.c_attn.register_forward_hook(scale_values)
    expected = model(tokens).logits
    handle.remove()
    with heads.scaled(model, {head: alpha}):
        found = model(tokens).logits
    assert torch.allclose(found, expected, atol=1e-4)


@torch.inference_mode()
def test_attributions_of_all_parts_add_up_to_the_logit_difference(model):
    """Heads, their projection's bias, MLPs and the embedding: exactly the difference of logits."""
    question = draw_questions()[0]
    a, b = question.answers[0][0], question.answers[1][0]
    found = scoring.attributions(model, [question])[0].sum()

    parts = heads.parts(model)
    written, seen = [], {}
    mlps = [layer.mlp for layer in parts.layers]
    handles = [m.register_forward_hook(lambda _, x, y: written.append(y[0, -1])) for m in mlps]
    handles += [
        parts.layers[0].register_forward_pre_hook(lambda _, x: written.append(x[0][0, -1])),
        parts.norm.register_forward_pre_hook(lambda _, x: seen.update(residual=x[0][0, -1])),
    ]
    logits = model(torch.tensor([question.prompt])).logits[0, -1]
    for handle in handles:
        handle.remove()
    written += [m.bias for m in parts.outputs if m.bias is not None]
    table = model.get_output_embeddings().weight
    back = heads.through_norm(parts.norm, seen["residual"], table[a] - table[b])
    rest = float(back @ torch.stack(written).sum(dim=0))
    norm_bias = getattr(parts.norm, "bias", None)
    if norm_bias is not None:
        rest += float((table[a] - table[b]) @ norm_bias)
    assert found + rest == pytest.approx(float(logits[a] - logits[b]), abs=1e-3)


@torch.inference_mode()
def test_attribution_of_one_head_is_what_its_output_adds(model):
    question = draw_questions()[1]
    head, width = Head(1, 2), WIDTH // HEADS
    seen = {}
    parts = heads.parts(model)
    watched = {"z": parts.outputs[1], "residual": parts.norm}
    handles = [
        m.register_forward_pre_hook(lambda _, x, k=k: seen.update({k: x[0][0, -1]}))
        for k, m in watched.items()
    ]
    model(torch.tensor([question.prompt]))
    for handle in handles:
        handle.remove()
    alone = torch.zeros(WIDTH)
    alone[2 * width : 3 * width] = seen["z"][2 * width : 3 * width]
    projection = parts.outputs[1]
    bias = projection.bias if projection.bias is not None else 0
    written = projection(alone) - bias
    if hasattr(parts.norm, "bias"):
        centred = written - written.mean()
        scale = torch.sqrt(seen["residual"].var(correction=0) + parts.norm.eps)
    else:
        centred = written
        scale = torch.sqrt(seen["residual"].pow(2).mean() + parts.norm.variance_epsilon)
    logits = model.get_output_embeddings().weight @ (centred / scale * parts.norm.weight)
    a, b = (answer[0] for answer in question.answers)
    found = scoring.attributions(model, [question])[0, head.layer, head.number]
    assert found == pytest.approx(float(logits[a] - logits[b]), abs=1e-4)


def test_an_unknown_architecture_is_refused():
    model = make_model("llama")
    model.config.model_type = "mamba"
    with pytest.raises(ValueError, match="mamba"):
        heads.parts(model)


def test_text_as_a_question_has_the_usual_loss():
    model = make_model("llama")
    tokens = torch.tensor([[3, 9, 27, 31, 45, 2]])
    question = Question((3,), ((9, 27, 31, 45, 2),))
    logits = model(tokens).logits[0, :-1]
    loss = functional.cross_entropy(logits, tokens[0, 1:], reduction="sum").item()
    assert -scoring.log_probs(model, [question]).whole[0, 0, 0] == pytest.approx(loss, abs=1e-4)


def test_a_saved_model_generates_as_without_a_batch(model, tmp_path):
    """From a folder, as at the paper scale: padding on the left changes no greedy continuation."""
    model.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    loaded, tokenizer = pretrained.load(tmp_path)
    prompts = ["The capital of Poland is", "Q : What is the capital of Chad ?", "A : London"]
    scaling = {Head(0, 1): -2.0}
    together = scoring.generate(loaded, tokenizer, prompts, scaling, new_tokens=4)
    alone = [
        scoring.generate(loaded, tokenizer, [prompt], scaling, new_tokens=4)[0]
        for prompt in prompts
    ]
    assert together == alone
    assert together != scoring.generate(loaded, tokenizer, prompts, {}, new_tokens=4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" London.\nQ: What is the capital of Poland?", scoring.IN_CONTEXT),
        (" Warsaw, not London.", scoring.MEMORISED),  # the true capital counts first
        (" London\nQ: Warsaw", scoring.IN_CONTEXT),  # cut at the next question
        (" Paris.", scoring.NEITHER),
    ],
)
def test_the_papers_score(text, expected):
    assert scoring.judge(text, ("Warsaw",), "London") == expected


def test_the_papers_score_takes_a_copied_country_for_a_memory():
    """Why capitals that share their country's name are left out (defect B2)."""
    text = " The capital of Singapore is London."
    assert scoring.judge(text, ("Singapore",), "London") == scoring.MEMORISED
