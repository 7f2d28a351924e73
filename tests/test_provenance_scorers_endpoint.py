"""Scoring through end points: alignment, refusals, retries, resuming, samples."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from completions_server import Server, serving
from numpy.typing import NDArray

from provenance.scorers import (
    CompletionsScorer,
    Endpoint,
    EndpointError,
    SamplingScorer,
    ScorerError,
)
from provenance.scorers.alignment import PROBES, Comparison, Echo, align
from provenance.scorers.sampling import questions, smoothed_log
from provenance.scorers.spans import decoder
from stemma.models.tokenizer import END_OF_TEXT, train_bpe

TEXTS = [
    *PROBES,
    "She opened the window and saw that it had been raining for most of the night.",
    "The budget of the schools was new, and the window of the committee was red.",
    "Der Ausschuß tagte am Dienstag über den Haushalt der Schulen.",
]
TOKENIZER = train_bpe(TEXTS, 330)
ROWS = [np.array(TOKENIZER(text)["input_ids"]) for text in TEXTS[3:]]
VOCABULARY = len(TOKENIZER)

Connect = Callable[..., Endpoint]


@pytest.fixture
def connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("provenance.scorers.endpoint.time.sleep", lambda seconds: None)
    opened = []

    def make(server: Server, cache: str = "cache", **options: Any) -> Endpoint:
        settings = {"requests_per_minute": 100_000, "timeout": 5.0} | options
        opened.append(Endpoint(server.url, "table", cache=tmp_path / cache, **settings))
        return opened[-1]

    yield make
    for endpoint in opened:
        endpoint.close()


def check(server: Server, scorer: Any, skip: int = 0, count: int | None = None) -> None:
    """Compare the first ``count`` rows with the truth, but for the first ``skip`` values."""
    rows = ROWS[:count]
    for row, values in zip(rows, scorer.log_probs(rows), strict=True):
        assert values.shape == (len(row) - 1,)
        np.testing.assert_allclose(values[skip:], server.truth(row)[skip:], atol=1e-9)


@pytest.mark.parametrize("prompt", ["text", "ids"])
@pytest.mark.parametrize("generated", [True, False])
def test_an_aligned_end_point_is_exact(connect: Connect, prompt: Any, generated: bool) -> None:
    with serving(Server(TOKENIZER, returns_generated=generated)) as server:
        scorer = CompletionsScorer(connect(server), TOKENIZER, prompt=prompt)
        assert scorer.calibrate().shift == 0
        check(server, scorer)
        assert "set right" not in scorer.note


@pytest.mark.parametrize("prompt", ["text", "ids"])
def test_a_shifted_end_point_is_set_right_where_it_can_be(connect: Connect, prompt: Any) -> None:
    with serving(Server(TOKENIZER, shift=-1, returns_generated=False)) as server:
        scorer = CompletionsScorer(
            connect(server), TOKENIZER, prompt=prompt, top_logprobs=VOCABULARY
        )
        alignment = scorer.calibrate()
        assert alignment.shift == -1
        assert alignment.distance < 1e-9 < 1 < alignment.runner_up
        # The entry from which token 1 would follow is null.
        assert scorer.log_probs(ROWS[:1])[0][0] == 0
        check(server, scorer, skip=1, count=2)
        with pytest.raises(EndpointError, match="not among"):  # parts of a character look alike
            scorer.log_probs(ROWS[2:])
        assert "shifted by one token and set right" in scorer.note


def test_the_premise_summing_a_shifted_answer_is_wrong(connect: Connect) -> None:
    with serving(Server(TOKENIZER, shift=-1)) as server:
        ids = ROWS[0].tolist()
        body = {"prompt": ids, "max_tokens": 1, "logprobs": 1, "echo": True}
        naive = server.answer(body)["choices"][0]["logprobs"]["token_logprobs"][1 : len(ids)]
        assert np.abs(np.array(naive) - server.truth(ids)).mean() > 1


def test_a_shifted_end_point_is_refused_where_it_cannot_be(connect: Connect) -> None:
    with serving(Server(TOKENIZER, shift=-1)) as server:
        scorer = CompletionsScorer(connect(server), TOKENIZER, top_logprobs=2)
        with pytest.raises(EndpointError, match="shifted by one token, and token"):
            scorer.log_probs(ROWS)


def bounded(server: Server, last: int, following: int, top: int) -> float:
    """Return the log-probability of a token, or the last of the top ones if it is not there."""
    own, wanted = TOKENIZER.decode([last]), TOKENIZER.decode([following])
    likeliest = {
        TOKENIZER.decode([i]): server.table[last, i] for i in np.argsort(-server.table[last])[:top]
    }
    if wanted in {*likeliest, own}:
        return float(server.table[last, following])
    return float(min(value for text, value in likeliest.items() if text != own))


def test_censoring_bounds_from_above(connect: Connect) -> None:
    top = 20
    with serving(Server(TOKENIZER, shift=-1)) as server:
        scorer = CompletionsScorer(connect(server), TOKENIZER, top_logprobs=top, censor=True)
        for row, values in zip(ROWS[:2], scorer.log_probs(ROWS[:2]), strict=True):
            for j in range(2, len(row)):
                assert values[j - 1] == pytest.approx(bounded(server, row[j - 1], row[j], top))
        assert "Tokens outside the top 20" in scorer.note


def test_one_token_late_cannot_be_set_right(connect: Connect) -> None:
    with serving(Server(TOKENIZER, shift=1)) as server:
        scorer = CompletionsScorer(connect(server), TOKENIZER, top_logprobs=50)
        with pytest.raises(EndpointError, match="one token late"):
            scorer.log_probs(ROWS)


@pytest.mark.parametrize("returns_bos", [True, False])
def test_a_beginning_token_is_not_part_of_the_example(connect: Connect, returns_bos: bool) -> None:
    server = Server(TOKENIZER, shift=-1, bos_aligns=True, returns_bos=returns_bos)
    with serving(server):
        scorer = CompletionsScorer(connect(server), TOKENIZER, bos=END_OF_TEXT)
        assert scorer.calibrate().shift == 0
        check(server, scorer)
        assert all(prompt.startswith(END_OF_TEXT) for prompt in server.prompts)


def test_noise_is_no_alignment(connect: Connect) -> None:
    generator = np.random.default_rng(0)

    def damage(found: Any) -> Any:
        found["token_logprobs"] = (-generator.exponential(3, len(found["tokens"]))).tolist()
        found["top_logprobs"] = None
        return found

    with serving(Server(TOKENIZER, damage=damage)) as server:
        scorer = CompletionsScorer(connect(server), TOKENIZER)
        with pytest.raises(EndpointError, match="at no shift"):
            scorer.log_probs(ROWS)
        assert not any(TEXTS[3] == prompt for prompt in server.prompts)  # no real query before


def test_a_model_whose_distributions_are_all_alike_is_not_calibrated() -> None:
    echo = Echo(["a"] * 9, [-1.0] * 9, [{"a": -1.0}] * 9, None)
    with pytest.raises(EndpointError, match="at no shift"):
        align([Comparison(echo, j, {"a": -1.0}) for j in range(2, 7)])
    with pytest.raises(EndpointError, match="only 0 prefixes"):
        align([])


def test_an_end_point_without_top_logprobs_is_calibrated_from_the_tokens(
    connect: Connect,
) -> None:
    def damage(found: Any) -> Any:
        return found | {"top_logprobs": None}

    with serving(Server(TOKENIZER, damage=damage)) as server:
        scorer = CompletionsScorer(connect(server), TOKENIZER, top_logprobs=VOCABULARY)
        assert scorer.calibrate().shift == 0
        check(server, scorer)


def broken(key: str, change: Callable[[list[Any]], list[Any]]) -> Callable[[Any], Any]:
    return lambda found: found | {key: change(found[key])}


DAMAGE: list[tuple[Any, str]] = [
    (lambda found: None, "returned no log-probabilities"),
    (broken("token_logprobs", lambda v: []), "returned no log-probabilities"),
    (broken("token_logprobs", lambda v: [*v[:4], None, *v[5:]]), "token 4 is None"),
    (broken("token_logprobs", lambda v: [*v[:4], -np.inf, *v[5:]]), "token 4 is -inf"),
    (broken("token_logprobs", lambda v: [*v[:4], np.nan, *v[5:]]), "token 4 is nan"),
    (broken("token_logprobs", lambda v: [*v[:4], 0.5, *v[5:]]), "token 4 is 0.5"),
    (broken("token_logprobs", lambda v: v[:-1]), "differ in length"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
@pytest.mark.parametrize("prompt", ["text", "ids"])
def test_answers_that_mean_nothing_give_no_score(
    connect: Connect, damage: Any, message: str, prompt: Any
) -> None:
    with serving(Server(TOKENIZER)) as server:
        scorer = CompletionsScorer(connect(server), TOKENIZER, prompt=prompt)
        scorer.calibrate()
        server.damage = damage
        with pytest.raises(EndpointError, match=message):
            scorer.log_probs(ROWS)
        server.damage = None
        check(server, scorer)  # a bad answer was not kept


def test_missing_tokens_are_noticed(connect: Connect) -> None:
    with serving(Server(TOKENIZER, returns_generated=False)) as server:
        for prompt, message in [("ids", "came back"), ("text", "do not make up|another tokenizer")]:
            scorer = CompletionsScorer(connect(server), TOKENIZER, prompt=prompt)  # type: ignore[arg-type]
            scorer.calibrate()
            server.damage = lambda found: {key: value[:-1] for key, value in found.items()}
            with pytest.raises(EndpointError, match=message):
                scorer.log_probs(ROWS)
            server.damage = None


def test_log_probabilities_that_expire_stop_the_job_and_nothing_is_lost(connect: Connect) -> None:
    with serving(Server(TOKENIZER)) as server:
        scorer = CompletionsScorer(connect(server, concurrency=1), TOKENIZER)
        scorer.log_probs(ROWS[:2])
        server.logprobs = False
        with pytest.raises(EndpointError, match="any more"):
            scorer.log_probs(ROWS)
        server.logprobs = True
        check(server, scorer)
        assert [server.prompts.count(text) for text in TEXTS[3:5]] == [1, 1]


def test_another_tokenizer_is_refused_or_carried_over(connect: Connect) -> None:
    theirs = train_bpe(TEXTS, 290)
    with serving(Server(theirs)) as server:
        with pytest.raises(EndpointError, match="another tokenizer than the transcript's"):
            CompletionsScorer(connect(server), TOKENIZER).log_probs(ROWS)
        server.takes_ids = False
        with pytest.raises(EndpointError, match="refused the request: HTTP 400"):
            CompletionsScorer(connect(server), TOKENIZER, prompt="ids").log_probs(ROWS)
        scorer = CompletionsScorer(connect(server), TOKENIZER, other_tokenizer=True)
        values = scorer.log_probs(ROWS)
        for row, text, found in zip(ROWS, TEXTS[3:], values, strict=True):
            assert found.shape == (len(row) - 1,)
            ids = theirs(text)["input_ids"]
            first = len(TOKENIZER.decode(row[:1]).encode())
            assert found.sum() == pytest.approx(by_hand(theirs, ids, server.truth(ids), first))
        assert "Another tokenizer" in scorer.note


def by_hand(tokenizer: Any, ids: Any, values: NDArray[np.float64], skipped: int) -> float:
    """Sum log-probabilities by the share of each token's bytes beyond ``skipped``."""
    sizes = [len(tokenizer.convert_ids_to_tokens(i)) for i in ids]
    ends = np.cumsum(sizes)
    shares = np.clip((ends - skipped) / sizes, 0, 1)[1:]
    return float((shares * values).sum())


def test_busy_and_broken_answers_are_tried_again(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("provenance.scorers.endpoint.time.sleep", slept.append)
    failures = [(429, {"Retry-After": "7"}), (503, {}), (500, {})]
    with serving(Server(TOKENIZER, failures=failures)) as server:
        scorer = CompletionsScorer(connect(server, concurrency=1), TOKENIZER)
        check(server, scorer)
        assert slept[0] == 7
        assert len(slept) == 3


def test_it_gives_up_in_the_end_and_refusals_are_not_tried_again(connect: Connect) -> None:
    with serving(Server(TOKENIZER, failures=[(503, {})] * 3)) as server:
        with pytest.raises(EndpointError, match="no answer in 3 attempts: HTTP 503"):
            CompletionsScorer(connect(server, attempts=3), TOKENIZER).log_probs(ROWS)
        assert server.attempts == 3
        server.failures = [(401, {})]
        with pytest.raises(EndpointError, match="refused the request: HTTP 401"):
            CompletionsScorer(connect(server, attempts=3), TOKENIZER).log_probs(ROWS)
        assert server.attempts == 4


def test_no_server_at_all(connect: Connect) -> None:
    with serving(Server(TOKENIZER)) as server:
        pass
    with pytest.raises(EndpointError, match="answers so far are kept"):
        CompletionsScorer(connect(server, attempts=2), TOKENIZER).log_probs(ROWS)


@pytest.mark.parametrize("kind", ["completions", "sampling"])
def test_a_server_that_dies_is_asked_nothing_twice(connect: Connect, kind: str) -> None:
    def scorer(server: Server, cache: str) -> Any:
        endpoint = connect(server, cache, attempts=2)
        if kind == "completions":
            return CompletionsScorer(endpoint, TOKENIZER)
        return SamplingScorer(endpoint, TOKENIZER, positions=2, samples=3)

    with serving(Server(TOKENIZER)) as whole:
        expected = scorer(whole, "whole").log_probs(ROWS)
    server = Server(TOKENIZER, dies_after=len(whole.prompts) - 2)
    with serving(server):
        address = server.url
        with pytest.raises(EndpointError, match="answers so far are kept"):
            scorer(server, "part").log_probs(ROWS)
        server.dies_after = 10**9
        assert server.url == address
        again = scorer(server, "part").log_probs(ROWS)
    requests = [str(sorted(body.items())) for body in server.bodies]
    assert len(requests) == len(set(requests)) == len(whole.prompts)
    for values, right in zip(again, expected, strict=True):
        np.testing.assert_array_equal(values, right)


def test_the_estimate_is_what_is_asked(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    with serving(Server(TOKENIZER)) as server:
        endpoint = connect(server, prices=(1e6, 2e6))
        scorer = CompletionsScorer(endpoint, TOKENIZER)
        tokens = sum(len(row) for row in ROWS)
        assert scorer.estimate(ROWS) == (3, 0, tokens, 3, tokens + 6)
        assert not server.prompts
        scorer.calibrate()
        before = len(server.prompts)
        assert before <= 15
        with caplog.at_level("INFO", logger="provenance"):
            scorer.log_probs(ROWS)
        assert f"3 requests (0 more are cached), {tokens} prompt tokens" in caplog.text
        assert len(server.prompts) - before == 3
        assert scorer.estimate(ROWS) == (0, 3, 0, 0, 0)


def test_examples_that_stand_there_twice_are_asked_once(connect: Connect) -> None:
    with serving(Server(TOKENIZER)) as server:
        scorer = CompletionsScorer(connect(server), TOKENIZER)
        rows = [ROWS[0], ROWS[1], ROWS[0], ROWS[0]]
        assert scorer.estimate(rows).requests == 2
        values = scorer.log_probs(rows)
        assert server.prompts.count(TEXTS[3]) == 1
        np.testing.assert_array_equal(values[0], values[3])


def test_requests_are_few_at_once_and_not_too_often(connect: Connect) -> None:
    with serving(Server(TOKENIZER)) as server:
        seen: list[tuple[int, int]] = []
        scorer = SamplingScorer(
            connect(server, concurrency=2),
            TOKENIZER,
            positions=4,
            samples=2,
            progress=lambda *counts: seen.append(counts),
        )
        scorer.log_probs(ROWS)
        assert server.peak <= 2
        assert seen == [(n, 12) for n in range(1, 13)]
    limited = connect(server, "limited", requests_per_minute=2)
    assert [limited._limiter.try_acquire("endpoint", blocking=False) for _ in range(3)] == [
        True,
        True,
        False,
    ]


def test_the_token_is_sent_but_not_stored(connect: Connect, tmp_path: Path) -> None:
    with serving(Server(TOKENIZER)) as server:
        endpoint = connect(server, token="very-secret")
        assert endpoint._client.headers["Authorization"] == "Bearer very-secret"
        CompletionsScorer(endpoint, TOKENIZER).log_probs(ROWS)
        endpoint.close()
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert files
    assert not any(b"very-secret" in path.read_bytes() for path in files)


@pytest.mark.parametrize("honours", [True, False])
def test_samples_estimate_the_log_probability(connect: Connect, honours: bool) -> None:
    samples = 400 if honours else 60
    with serving(Server(TOKENIZER, honours_n=honours, logprobs=False, sharpness=4.0)) as server:
        scorer = SamplingScorer(connect(server), TOKENIZER, positions=3, samples=samples)
        found = scorer.log_probs(ROWS[:2])
        asked = 6 if honours else 6 * samples - 0
        assert asked <= len(server.prompts) <= asked + 1
        decode = decoder(TOKENIZER)
        for row, values in zip(ROWS[:2], found, strict=True):
            assert values.shape == (3,)
            at = [
                len(TOKENIZER(q.prefix)["input_ids"])
                for q in questions(decode, row, scorer._window, 3)
            ]
            p = np.exp(server.truth(row)[np.array(at) - 1])
            share = np.exp(values) * (samples + 1) / samples
            assert (np.abs(share - p) < 5 * np.sqrt(p / samples) + 2 / samples).all()


def test_the_smoothed_share() -> None:
    assert smoothed_log(0, 1) == pytest.approx(np.log(0.25))
    assert smoothed_log(3, 3) == pytest.approx(np.log(3.5 / 4))


def test_samples_too_few_or_rows_too_short_are_refused(connect: Connect) -> None:
    with serving(Server(TOKENIZER)) as server:
        scorer = SamplingScorer(connect(server), TOKENIZER, positions=2, samples=3)
        scorer.log_probs(ROWS[:1])
        server.honours_n = False
        with pytest.raises(EndpointError, match="3 samples were asked for, 1 came back"):
            scorer.log_probs(ROWS)
        with pytest.raises(ScorerError, match="positions to ask about"):
            SamplingScorer(connect(server), TOKENIZER, positions=90).log_probs(ROWS)
