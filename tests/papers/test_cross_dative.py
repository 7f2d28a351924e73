"""Cross-dative: one new word in a frozen model, its exposures and its test sentences."""

import copy
from collections import Counter

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from stemma.errors import DataUnavailable
from stemma.models import lm, pretrained
from stemma.models.weights import weights_digest
from stemma.papers.cross_dative import exposure as learning
from stemma.papers.cross_dative import learner as learners_module
from stemma.papers.cross_dative import population, stimuli, study, testset
from stemma.papers.cross_dative.learner import encode, frames_of, freeze, plain_scores, scores
from stemma.papers.cross_dative.stimuli import FORMS, KINDS, Exposure, Kind, Phrase

TEXTS = [
    "Mommy [verb] me the ball.",
    "The boy [verb] a small furry cat to something.",
    "Sarah [verb] it to him.",
    "The girl [verb].",
]
SETTING = study.Setting(steps=4, learning_rates=(0.1, 0.01), validate_every=2, batch_size=3)


def tiny_opt() -> OPTForCausalLM:
    """The architecture of the paper's models."""
    config = OPTConfig(
        vocab_size=400,
        hidden_size=16,
        word_embed_proj_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        ffn_dim=32,
        max_position_embeddings=64,
        dropout=0.0,
    )
    with lm.seeded(3):
        return OPTForCausalLM(config)


def sharpened(learner):
    """Far from uniform, in double precision: AdamW's first steps depend on signs alone."""
    model = learner.model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(6)
    return learner


@pytest.fixture(scope="module", params=["llama", "opt"])
def learner(request):
    found = population.random_learner(1)
    if request.param == "opt":
        found = freeze(tiny_opt(), found.tokenizer, 0)
    return sharpened(found)


@pytest.fixture(scope="module")
def llama():
    return population.random_learner(1)


class Enlarged:
    """Independent: the model with a longer embedding table, run on whole sentences one by one."""

    def __init__(self, learner, vector):
        self.learner, self.model = learner, copy.deepcopy(learner.model)
        self.new = self.model.config.vocab_size
        self.model.resize_token_embeddings(self.new + 1, mean_resizing=False)
        self.table = self.model.get_input_embeddings().weight
        with torch.no_grad():
            self.table[self.new] = vector
        self.table.requires_grad_(True)

    def log_probability(self, text):
        left, right = text.split("[verb]")
        parts = [
            self.learner.tokenizer(t, add_special_tokens=False)["input_ids"]
            for t in (left.rstrip(), right)
        ]
        ids = torch.tensor([[0, *parts[0], self.new, *parts[1]]])
        logs = self.model(input_ids=ids).logits[0, :-1].log_softmax(dim=-1)
        return logs.gather(1, ids[0, 1:, None]).sum(), ids.shape[1] - 1

    def learn(self, text, rate, steps):
        optimizer = torch.optim.AdamW([self.table], lr=rate, eps=1e-8, weight_decay=0.0)
        for _ in range(steps):
            total, tokens = self.log_probability(text)
            optimizer.zero_grad()
            (-total / tokens).backward()
            self.table.grad[: self.new] = 0  # as in the authors' code
            optimizer.step()
        return self.table[self.new].detach()


def test_scores_are_those_of_an_enlarged_model(learner):
    generator = torch.Generator().manual_seed(0)
    width = learner.embeddings.shape[1]
    vectors = torch.randn(5, width, generator=generator, dtype=torch.float64)
    found = scores(learner, frames_of(learner, TEXTS), vectors, batch_size=2)
    summed = scores(learner, frames_of(learner, TEXTS), vectors, how="sum")
    for row, vector in enumerate(vectors):
        enlarged = Enlarged(learner, vector)
        for column, text in enumerate(TEXTS):
            total, tokens = enlarged.log_probability(text)
            assert found[row, column] == pytest.approx(total.item() / tokens, abs=1e-6)
            assert summed[row, column] == pytest.approx(total.item(), abs=1e-5)


def test_learning_in_batches_is_learning_one_by_one(learner):
    start = learning.initial_vector(learner, 1e-5, 3)
    path = learning.learn(learner, TEXTS, start, learning_rate=0.05, steps=3, batch_size=3)
    for i, text in enumerate(TEXTS):
        alone = Enlarged(learner, start)
        total, tokens = alone.log_probability(text)
        assert path.losses[0, i] == pytest.approx(-total.item() / tokens, abs=1e-6)
        vector = alone.learn(text, 0.05, 3)
        assert path.vectors[3, i].numpy() == pytest.approx(vector.numpy(), abs=1e-5)
    assert (path.losses[3] < path.losses[0]).all()


def test_nothing_but_the_new_words_moves(llama):
    before = population.digest(llama)
    start = learning.initial_vector(llama, 1e-5, 3)
    path = learning.learn(llama, TEXTS, start, learning_rate=0.1, steps=2)
    assert population.digest(llama) == before
    assert all(p.grad is None and not p.requires_grad for p in llama.model.parameters())
    assert (path.vectors[2] != path.vectors[0]).any(dim=1).all()
    assert torch.equal(path.vectors[0], start.expand(len(TEXTS), -1))


def test_a_word_does_not_depend_on_the_others(llama):
    start = learning.initial_vector(llama, 1e-5, 3)
    options = {"learning_rate": 0.1, "steps": 3}
    together = learning.learn(llama, TEXTS, start, **options)
    for i, text in enumerate(TEXTS):
        alone = learning.learn(llama, [text], start, **options)
        assert together.losses[:, i] == pytest.approx(alone.losses[:, 0], abs=1e-4)


def test_untied_embeddings_are_refused():
    model = lm.build(lm.small_config(vocab_size=50, hidden=8, tie_embeddings=False, heads=2), 0)
    with pytest.raises(ValueError, match="tied"):
        freeze(model, None, 0)


def test_first_embeddings_follow_the_gaussian_of_all(llama):
    table = llama.embeddings.double()
    drawn = torch.stack([learning.initial_vector(llama, 0.25, s) for s in range(400)]).double()
    spread = drawn.var(dim=0) / table.var(dim=0)
    assert spread.mean().item() == pytest.approx(0.25, rel=0.1)
    error = (drawn.mean(dim=0) - table.mean(dim=0)) / (table.std(dim=0) * 0.5 / 400**0.5)
    assert error.abs().max() < 4.5
    assert torch.equal(drawn[7].float(), learning.initial_vector(llama, 0.25, 7))


def test_plain_scores_agree_with_the_model(llama):
    text = "The farmer must be home."
    ids = [0, *llama.tokenizer(text, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        logs = llama.model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    expected = logs.gather(1, torch.tensor(ids[1:])[:, None]).sum().item()
    mean, other = plain_scores(llama, [text, "A door."])
    assert mean == pytest.approx(expected / (len(ids) - 1), rel=1e-5)
    assert mean != other
    assert plain_scores(llama, [text], "sum")[0] == pytest.approx(expected, rel=1e-5)


def test_encoding_keeps_the_text_and_its_style(llama):
    sentence = encode(llama, "Mommy [verb] me that, Sarah.")
    assert llama.tokenizer.decode(sentence.before[1:]) == "Mommy"
    assert llama.tokenizer.decode(sentence.after) == " me that, Sarah."
    spaced = freeze(llama.model, llama.tokenizer, 0, spaced=True)
    sentence = encode(spaced, "Mommy [verb] me that, Sarah.")
    assert llama.tokenizer.decode(sentence.after) == " me that , Sarah ."
    for text in ("no new word", "two [verb] and [verb]"):
        with pytest.raises(ValueError, match="once"):
            encode(llama, text)


def test_groups_hold_each_sentence_once():
    sentences = [
        learners_module.Sentence(tuple(range(n)), tuple(range(m)))
        for n, m in [(2, 5), (3, 4), (2, 3), (2, 9), (3, 1)]
    ]
    groups = list(learners_module.equal_before(sentences, 2))
    assert groups == [[2, 0], [3], [4, 1]]


# Exposures


def test_design_is_balanced_over_kinds_of_both_arguments():
    drawn = stimuli.design(96, 5)
    for form in FORMS:
        of_form = [e for e in drawn if e.form == form]
        for position in (0, 1):
            counts = Counter(e.arguments[position].kind for e in of_form)
            assert counts == dict.fromkeys(KINDS, 4)
    whole = stimuli.design(288, 5)
    assert len({(e.form, e.recipient.kind, e.theme.kind) for e in whole}) == 288
    assert drawn == stimuli.design(96, 5)
    with pytest.raises(ValueError, match="even"):
        stimuli.design(95, 5)
    assert drawn != stimuli.design(96, 6)


def test_kinds_are_those_of_the_words():
    known = stimuli.lexicon()
    for exposure in stimuli.design(288, 0):
        one, two = exposure.arguments
        assert not set(one.text.split()) & set(two.text.split()) - {"the", "a"}
        for phrase in exposure.arguments:
            said = phrase.text.split()
            assert phrase.kind.pronoun == (len(said) == 1)
            assert phrase.kind.short == (len(said) < 4)
            if not phrase.kind.pronoun:
                assert phrase.kind.definite == (said[0] == "the")
                assert phrase.kind.animate == (said[-1] in known["nouns"]["animate"])


def example(form, recipient, theme):
    return Exposure(form, "Mommy", Phrase(Kind(*recipient), "me"), Phrase(Kind(*theme), "a ball"))


def test_features_and_alignment_by_hand():
    pronoun, noun = (True, True, True, True), (False, False, False, False)
    best = example("DO", pronoun, noun)
    assert best.text == "Mommy [verb] me a ball."
    assert best.prominent(0) == dict.fromkeys(stimuli.FEATURES, True)
    assert best.prominent(1) == {
        "pronoun": False,
        "definite": False,
        "short": False,
        "animacy": True,
    }
    assert best.alignment == 6
    turned = example("PO", pronoun, noun)
    assert turned.text == "Mommy [verb] a ball to me."
    assert turned.prominent(0)["animacy"]
    assert turned.prominent(1)["animacy"]
    assert turned.alignment == 2  # the animacy of both is right in either form
    swapped = example("PO", noun, pronoun)  # pronoun theme first, but the animacies are wrong
    assert swapped.alignment == 4
    assert not swapped.prominent(0)["animacy"]


def test_own_words_do_not_meet():
    sets = list(stimuli.own_words().values())
    assert all(len(s) > 5 for s in sets)
    for i, one in enumerate(sets):
        for two in sets[i + 1 :]:
            assert not one & two
    known = stimuli.lexicon()
    assert len(known["good"]) == len(known["bad"]) == 20
    assert len(known["double_object_only"]) >= 20
    for text in (*known["good"], *known["bad"], *known["intransitive"]):
        assert text.count("[verb]") == 1


def test_overlap_counts_pronouns():
    exposure = example("DO", (True, True, True, True), (False, False, False, True))
    tests = ["who [verb] it to me?", "I [verb] it to a king.", "a [verb] ball", "we [verb] that"]
    assert stimuli.overlap(exposure, tests) == 0.5


# Test sentences


@pytest.mark.parametrize(
    ("sentence", "verb", "expected"),
    [
        ("I'll  give you a tip.", "give", "I'll [verb] you a tip."),
        ("Give me that.", "Give", ""),
        ("tell me what you tell him", "tell", ""),
        ("- Give it to me", "Give", ""),
        ('He said "give it to me"', "give", ""),
        ("We gave2 it", "gave", ""),
    ],
)
def test_only_clean_sentences_are_masked(sentence, verb, expected):
    assert testset.masked(sentence, verb) == expected


@pytest.mark.parametrize("source", ["dativelm-double-object", "dativelm-prepositional"])
def test_real_sentences_share_no_content_word_with_ours(source):
    try:
        found = testset.attested(source, 60, 0)
    except DataUnavailable as error:
        pytest.skip(str(error))
    assert len(set(found)) == 60
    assert all(s.count("[verb]") == 1 for s in found)
    said = stimuli.content_words(found)
    assert not any(said & own for own in stimuli.own_words().values())
    if source.endswith("prepositional"):
        assert all(" to " in s.split("[verb]")[1] for s in found)
    assert found == testset.attested(source, 60, 0)
    with pytest.raises(DataUnavailable, match="are needed"):
        testset.attested(source, 2000, 0)


def test_gate_verbs():
    try:
        pairs = testset.gate_pairs("hawkins-datives", 20, 0)
    except DataUnavailable as error:
        pytest.skip(str(error))
    verbs = {(p.group, p.verb) for p in pairs}
    assert Counter(group for group, _ in verbs) == {
        "alternating": 20,
        "prepositional only": 20,
        "double object only": 20,
    }
    for pair in pairs:
        same = set(pair.prepositional.split()) - {"to"} == set(pair.double_object.split())
        assert same, pair


# Where learners come from


def test_models_of_a_folder_are_loaded_as_those_of_the_hub(tmp_path, llama):
    model = tiny_opt()
    model.save_pretrained(tmp_path)
    llama.tokenizer.save_pretrained(tmp_path)
    [(name, found)] = population.from_hub([str(tmp_path)])
    assert name == str(tmp_path)
    assert found.spaced
    assert found.bos == 0
    assert population.digest(found) == weights_digest(model)
    start = learning.initial_vector(found, 1e-5, 0)
    path = learning.learn(found, TEXTS[:2], start, learning_rate=0.1, steps=2)
    assert (path.losses[2] < path.losses[0]).all()
    with pytest.raises(DataUnavailable):
        next(population.from_hub([str(tmp_path / "nothing")]))


def test_no_learner_trains_on_a_test_sentence():
    documents = ["Who gave it to you?\nwho threw it at you?\nGive it.", "who sold it to you ."]
    kept = population.unseen(documents, ["who [verb] it to you?", "a [verb] b"])
    assert kept == ["who threw it at you?\nGive it.", ""]


def test_learners_trained_here_learn_and_then_are_frozen():
    documents = ["the dog saw the cat and the cat saw the dog\n" * 6] * 12
    plan = population.Plan(3, 5e-3, 16, 4, vocab_size=300, layers=1, hidden=16, heads=2)
    made = population.from_scratch(documents, plan, 0, "cpu")
    fresh = population.from_scratch(documents, plan._replace(learning_rate=0.0), 0, "cpu")
    text = ["the dog saw the cat"]
    assert plain_scores(made, text)[0] > plain_scores(fresh, text)[0] + 0.5
    again = population.from_scratch(documents, plan, 0, "cpu")
    assert population.digest(made) == population.digest(again)
    before = population.digest(made)
    base = pretrained.Pretrained(made.model, made.tokenizer)
    tuned = population.continued(documents, plan, 1, base, "cpu")
    assert population.digest(tuned) != before == population.digest(made)
    assert plain_scores(tuned, text)[0] > plain_scores(made, text)[0]
    assert not any(p.requires_grad for p in tuned.model.parameters())
