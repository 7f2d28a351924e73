"""The reshuffle test: does a text prefer the model of the true order to re-runs in other orders?

The last phase of training is run again m times on reshuffled data from the same checkpoint and
optimizer state, and once in the true order; under the null hypothesis the m + 1 scores of the
suspect's text are exchangeable.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from provenance.errors import BadScores, ProvenanceError, TooFewExamples
from provenance.tails import log10_t_sf


@dataclass(frozen=True)
class ReshuffleResult:
    """Outcome of a reshuffle test.

    Attributes:
        p: exact one-sided rank p-value; never under ``floor`` = 1 / (m + 1).
        rank: rank of the true order among the m + 1 scores, 1 = likeliest.
        m: number of reshuffled re-runs.
        t: t statistic of the true score as a new draw from the reshuffled ones.
        p_t: its one-sided p-value, Student's t with m - 1 degrees of freedom; it assumes normal
            scores, which ``p`` does not.
        log10_p_t: its logarithm, also where ``p_t`` underflows.
    """

    p: float
    rank: int
    m: int
    t: float
    p_t: float
    log10_p_t: float

    @property
    def floor(self) -> float:
        """Smallest exact p-value that m re-runs can give."""
        return 1.0 / (self.m + 1)

    def summary(self) -> str:
        """Return one line, the exact p-value first."""
        return (
            f"exact rank p = {self.p:.3g} (rank {self.rank} of {self.m + 1}, floor"
            f" {self.floor:.3g}); t = {self.t:.2f} on {self.m - 1} df, p_t = {self.p_t:.2g}"
        )


def reshuffle_test(true_score: float, reshuffled_scores: ArrayLike) -> ReshuffleResult:
    """Test whether the true-order model scores a text higher than its reshuffled re-runs.

    Args:
        true_score: score (log-likelihood) of the text under the re-run in the true order.
        reshuffled_scores: scores under the m re-runs in fresh random orders, shape (m,).

    Raises:
        TooFewExamples: fewer than two re-runs.
        BadScores: scores that are not finite, or all equal.
    """
    scores = _checked(true_score, reshuffled_scores)
    m = len(scores)
    at_least = int(np.count_nonzero(scores >= true_score))
    sd = float(scores.std(ddof=1))
    gap = true_score - float(scores.mean())
    # A new draw differs from the mean of m draws with variance sigma^2 (1 + 1/m).
    t = gap / (sd * math.sqrt(1 + 1 / m)) if sd > 0 else math.copysign(math.inf, gap)
    return ReshuffleResult(
        p=(1 + at_least) / (m + 1),
        rank=1 + at_least,
        m=m,
        t=t,
        p_t=float(stats.t.sf(t, m - 1)),
        log10_p_t=log10_t_sf(t, m - 1),
    )


def gaussian_tail_diagnostic(true_score: float, reshuffled_scores: ArrayLike) -> float:
    """Return the normal tail that the released code of the paper reports; NOT a valid p-value.

    It takes the standard deviation of a handful of re-runs (ddof 0, plus 1e-6) for known. Only
    for figures that show how far it overstates the evidence.

    Raises:
        TooFewExamples: fewer than two re-runs.
        BadScores: scores that are not finite, or all equal.
    """
    scores = _checked(true_score, reshuffled_scores)
    return float(stats.norm.sf((true_score - scores.mean()) / (scores.std() + 1e-6)))


Model = TypeVar("Model")
Text = TypeVar("Text")
Order = NDArray[np.int64]


class UnfaithfulRerun(ProvenanceError):
    """The re-run of the true order did not give the model that the owner released."""


@dataclass(frozen=True)
class ReshuffleScores:
    """Scores of texts under the re-runs of one phase, the true order first.

    Attributes:
        scores: of each text under each re-run, shape (m + 1,).
        adapted: the same after every re-run was adapted to the text; empty without adaptation.
        seed: of the reshuffled orders.
        digest: of the model that the re-run of the true order gave, if it was computed.
    """

    scores: dict[str, NDArray[np.float64]]
    adapted: dict[str, NDArray[np.float64]]
    seed: int
    digest: str | None

    def test(self, text: str, *, adapted: bool = False) -> ReshuffleResult:
        """Run the reshuffle test on one text; decide about adaptation before seeing any result."""
        scores = (self.adapted if adapted else self.scores)[text]
        return reshuffle_test(float(scores[0]), scores[1:])


def reshuffle_scores(
    run_phase: Callable[[Order], Model],
    score: Callable[[Model, Text], float],
    order: ArrayLike,
    texts: Mapping[str, Text],
    *,
    m: int = 19,
    strata: ArrayLike | None = None,
    adapt: Callable[[Model, Text], Model] | None = None,
    digest: Callable[[Model], str] | None = None,
    base_digest: str | None = None,
    progress: Callable[[int, int], object] | None = None,
    seed: int = 0,
) -> ReshuffleScores:
    """Run the last phase m + 1 times by one code path and score texts under every outcome.

    The true order is run again like all others and never replaced by the finished model: under the
    null hypothesis the m + 1 orders, and with them the scores, are then exchangeable, whatever
    ``run_phase``, ``score`` and ``adapt`` do, as long as they treat every order alike. One model
    is held at a time.

    Args:
        run_phase: trains the last phase in the given order, always from the same checkpoint and
            optimizer state, and returns the model; it must leave the checkpoint as it was.
        score: log-likelihood of a text under a model, such as the mean of ``completion_scores``.
        order: the true order of the phase: ids of its examples, shape (n,).
        texts: the suspects' texts by name.
        m: reshuffled re-runs; the smallest exact p-value is 1 / (m + 1).
        strata: label of each place of ``order`` where the shuffle was uniform only within stages,
            shape (n,); examples then stay within their stage.
        adapt: returns a copy of a model trained on a text, applied to all m + 1 alike; takes out
            what fine-tuning has changed in all of them.
        digest: hash of a model's weights.
        base_digest: that of the finished model, to show that the re-run of the true order is it.
        progress: called with (re-runs done, m + 1).
        seed: of the reshuffled orders.

    Raises:
        TooFewExamples: m below 2, no text, or an order too short to shuffle.
        BadScores: a score that is not finite, or ``strata`` that do not fit.
        UnfaithfulRerun: the re-run of the true order has another digest than ``base_digest``.
    """
    if not texts:
        raise TooFewExamples("at least one text is needed")
    if base_digest is not None and digest is None:
        raise ProvenanceError("`base_digest` needs `digest` to be compared with")
    orders = reshuffled_orders(order, m, strata=strata, seed=seed)
    plain: dict[str, list[float]] = {name: [] for name in texts}
    adapted: dict[str, list[float]] = {name: [] for name in texts if adapt is not None}
    found = None
    for done, each in enumerate(orders, start=1):
        model = run_phase(each)
        if done == 1 and digest is not None:
            found = digest(model)
            _require_faithful(found, base_digest)
        for name, text in texts.items():
            plain[name].append(_finite(score(model, text), name))
            if adapt is not None:
                adapted[name].append(_finite(score(adapt(model, text), text), name))
        if progress is not None:
            progress(done, len(orders))
    return ReshuffleScores(_arrays(plain), _arrays(adapted), seed, found)


def reshuffled_orders(
    order: ArrayLike, m: int, *, strata: ArrayLike | None = None, seed: int = 0
) -> list[Order]:
    """Return the true order and m independent uniform reshuffles of it, within strata if given.

    Raises:
        TooFewExamples: m below 2, or no stage with two different examples.
        BadScores: ``strata`` of another length.
    """
    true = np.asarray(order, np.int64)
    stages = np.zeros(len(true), np.int64) if strata is None else np.asarray(strata)
    if stages.shape != true.shape:
        raise BadScores(f"order of shape {true.shape}, strata of shape {stages.shape}")
    places = [np.flatnonzero(stages == stage) for stage in np.unique(stages)]
    if m < 2 or all(len(np.unique(true[place])) < 2 for place in places):
        raise TooFewExamples("at least 2 reshuffles of at least 2 different examples are needed")
    rng = np.random.default_rng(seed)
    orders = [true.copy() for _ in range(m + 1)]
    for shuffled in orders[1:]:
        for place in places:
            shuffled[place] = rng.permutation(true[place])
    return orders


def completion_scores(
    log_probs: Callable[[Sequence[NDArray[np.int64]]], Sequence[NDArray[np.float64]]],
    prompts: Sequence[ArrayLike],
    completions: Sequence[ArrayLike],
) -> NDArray[np.float64]:
    """Return log p(completion | prompt) of each sample in nats, shape (samples,).

    Ids are joined, never texts, and the prompt is left out by counting its tokens: the first token
    of the completion is scored and none of the prompt.

    Args:
        log_probs: a scorer's method: a row of L tokens gives the L - 1 log-probabilities of its
            tokens from the second on, each given all before it.
        prompts: token ids that the suspect was given, at least one each.
        completions: token ids that it wrote, at least one each.

    Raises:
        BadScores: an empty prompt or completion, or numbers of log-probabilities that do not fit.
    """
    given = [np.asarray(prompt, np.int64) for prompt in prompts]
    written = [np.asarray(completion, np.int64) for completion in completions]
    if len(given) != len(written) or not all(map(len, given)) or not all(map(len, written)):
        raise BadScores("every sample needs a prompt and a completion of at least one token each")
    rows = [np.concatenate(pair) for pair in zip(given, written, strict=True)]
    values = log_probs(rows)
    if [len(v) for v in values] != [len(row) - 1 for row in rows]:
        raise BadScores("a row of L tokens must have L - 1 log-probabilities")
    # Value j belongs to token j + 1: the completion's first token sits at the prompt's length - 1.
    return np.array(
        [float(v[len(prompt) - 1 :].sum()) for v, prompt in zip(values, given, strict=True)]
    )


def _require_faithful(found: str, wanted: str | None) -> None:
    if wanted is not None and found != wanted:
        raise UnfaithfulRerun(
            f"the re-run of the true order gave {found[:12]}, the finished model is {wanted[:12]}:"
            " make the last phase reproducible (checkpoint, optimizer state, data, threads) first"
        )


def _finite(value: float, name: str) -> float:
    if not math.isfinite(value):
        raise BadScores(f"`{name}` has the score {value!r} under a re-run")
    return float(value)


def _arrays(values: dict[str, list[float]]) -> dict[str, NDArray[np.float64]]:
    return {name: np.array(scores) for name, scores in values.items()}


def _checked(true_score: float, reshuffled_scores: ArrayLike) -> NDArray[np.float64]:
    scores = np.asarray(reshuffled_scores, dtype=float)
    if scores.ndim != 1 or len(scores) < 2:
        raise TooFewExamples(f"at least 2 reshuffled re-runs are needed, got {scores.shape}")
    if not (np.isfinite(scores).all() and math.isfinite(true_score)):
        raise BadScores("scores hold NaN or infinite values")
    if np.ptp(scores) == 0 and true_score == scores[0]:
        raise BadScores("all scores are equal: the text cannot tell the re-runs apart")
    return scores
