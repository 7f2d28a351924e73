"""The experiment for one learner: choose the rate, learn each exposure, choose steps, test."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from stemma.models.parallel import threaded
from stemma.papers.cross_dative import exposure as learning
from stemma.papers.cross_dative import stimuli
from stemma.papers.cross_dative.exposure import Steps, Trajectory, Validation
from stemma.papers.cross_dative.learner import (
    Array,
    Frame,
    Learner,
    encode,
    equal_before,
    frames_of,
    plain_scores,
    scores,
)
from stemma.papers.cross_dative.stimuli import Exposure
from stemma.stats import mean_interval

Report = Callable[[int, int], object]


@dataclass(frozen=True)
class Setting:
    """How words are learnt and tested.

    Attributes:
        steps: gradient steps.
        learning_rates: of which one is chosen by verb-hood.
        validate_every: steps between two states that validation can choose.
        covariance_scale: of the first embedding.
        how: ``mean`` or ``sum`` of log-probabilities.
        batch_size: words at once.
        workers: threads, each computing with one.
    """

    steps: int
    learning_rates: tuple[float, ...]
    validate_every: int
    covariance_scale: float = 1e-5
    how: str = "mean"
    batch_size: int = 24
    workers: int = 1

    @property
    def checkpoints(self) -> list[int]:
        """The steps among which validation chooses; the last one is always there."""
        return sorted({*range(self.validate_every, self.steps, self.validate_every), self.steps})


@dataclass(frozen=True)
class Tests:
    """Sentences for one learner, with what stands before the new word computed.

    Attributes:
        forms: attested double-object (DO) and prepositional (PO) sentences.
        control: intransitive sentences.
        validation: sentences for verb-hood.
    """

    forms: dict[str, list[Frame]]
    control: list[Frame]
    validation: Validation


@dataclass(frozen=True)
class Learnt:
    """Words learnt from every exposure, from one first embedding.

    Attributes:
        path: how.
        best: the step that validation chose for each word, shape (words,).
        verbhood: at the checkpoints, shape (checkpoints, words).
    """

    path: Trajectory
    best: Steps
    verbhood: Array


def make_tests(learner: Learner, texts: dict[str, list[str]], validation: int) -> Tests:
    """Prepare the test sentences of both forms, controls, and so many validation pairs."""
    known = stimuli.lexicon()
    return Tests(
        forms={form: frames_of(learner, texts[form]) for form in stimuli.FORMS},
        control=frames_of(learner, known["intransitive"]),
        validation=Validation(
            good=frames_of(learner, known["good"][:validation]),
            bad=frames_of(learner, known["bad"][:validation]),
        ),
    )


def rate_values(
    learner: Learner, texts: Sequence[str], start: torch.Tensor, setting: Setting, tests: Tests
) -> dict[float, float]:
    """Return the mean best verb-hood that each learning rate reaches on the exposures given."""
    alone = replace(setting, workers=1)

    def job(rate: float) -> float:
        found = learn_all(learner, texts, start, rate, alone, tests)
        return float(found.verbhood.max(axis=0).mean())

    values = threaded(job, setting.learning_rates, setting.workers)
    return dict(zip(setting.learning_rates, values, strict=True))


def learn_all(
    learner: Learner,
    texts: Sequence[str],
    start: torch.Tensor,
    rate: float,
    setting: Setting,
    tests: Tests,
    report: Report | None = None,
) -> Learnt:
    """Learn a word from each exposure and choose its step by verb-hood.

    Args:
        learner: the frozen model.
        texts: exposures.
        start: first embedding, shape (width,).
        rate: learning rate.
        setting: how.
        tests: of which only the validation is used.
        report: called with the words done and the words in all.
    """
    groups = list(equal_before([encode(learner, text) for text in texts], setting.batch_size))

    def job(group: list[int]) -> tuple[Trajectory, Array]:
        part = [texts[i] for i in group]
        path = learning.learn(
            learner,
            part,
            start,
            learning_rate=rate,
            steps=setting.steps,
            batch_size=setting.batch_size,
        )
        return path, learning.verbhood_at(learner, tests.validation, path, setting.checkpoints)

    vectors = torch.empty(setting.steps + 1, len(texts), len(start), dtype=start.dtype)
    losses = np.empty((setting.steps + 1, len(texts)))
    verbhood = np.empty((len(setting.checkpoints), len(texts)))
    done = 0
    for group, (path, values) in zip(groups, threaded(job, groups, setting.workers), strict=True):
        vectors[:, group], losses[:, group], verbhood[:, group] = path.vectors, path.losses, values
        done += len(group)
        if report is not None:
            report(done, len(texts))
    best = np.asarray(setting.checkpoints)[verbhood.argmax(axis=0)]
    return Learnt(Trajectory(vectors, losses), best, verbhood)


def plain_all(learner: Learner, texts: Sequence[str], setting: Setting) -> Array:
    """Score texts without a new word, shape (texts,)."""
    chunks = [texts[start : start + 64] for start in range(0, len(texts), 64)]
    parts = threaded(lambda c: plain_scores(learner, c, setting.how), chunks, setting.workers)
    return np.concatenate(list(parts))


def score_all(
    learner: Learner, frames: Sequence[Frame], vectors: torch.Tensor, setting: Setting
) -> Array:
    """Score every sentence with every word, shape (words, sentences)."""
    parts = threaded(
        lambda v: scores(learner, frames, v.to(learner.embeddings), how=setting.how),
        torch.split(vectors, 2 * setting.batch_size),
        setting.workers,
    )
    return np.concatenate(list(parts))


def outcomes(
    learner: Learner, exposures: Sequence[Exposure], learnt: Learnt, setting: Setting, tests: Tests
) -> pd.DataFrame:
    """Return a row an exposure with its scores in the chosen state and in the first one.

    Columns: ``other`` form (the outcome), ``same`` form, ``control``, ``other_start``,
    ``same_start``, ``control_start``, ``loss`` of the exposure, ``best`` step, ``verbhood``,
    ``tokens`` scored of the exposure.
    """
    chosen = learnt.path.at(learnt.best)
    start = learnt.path.vectors[0, :1]
    is_do = np.array([e.form == "DO" for e in exposures])
    columns: dict[str, NDArray[Any]] = {"exposure": np.arange(len(exposures))}
    for suffix, vectors in (("", chosen), ("_start", start)):
        means = {
            form: score_all(learner, frames, vectors, setting).mean(axis=1)
            for form, frames in tests.forms.items()
        }
        columns[f"other{suffix}"] = np.where(is_do, means["PO"], means["DO"])
        columns[f"same{suffix}"] = np.where(is_do, means["DO"], means["PO"])
        control = score_all(learner, tests.control, vectors, setting).mean(axis=1)
        columns[f"control{suffix}"] = np.broadcast_to(control, len(exposures))
    words = np.arange(len(exposures))
    columns |= {
        "loss": learnt.path.losses[learnt.best, words],
        "best": learnt.best,
        "verbhood": learnt.verbhood.max(axis=0),
        "tokens": np.array([_scored(learner, e.text) for e in exposures]),
    }
    return pd.DataFrame(columns)


def equal_loss(
    learner: Learner, exposures: Sequence[Exposure], learnt: Learnt, setting: Setting, tests: Tests
) -> Array:
    """Return the other-form score of each word when all have the same exposure loss, (words,)."""
    vectors = learnt.path.at(learning.equal_loss_steps(learnt.path.losses))
    result = np.empty(len(exposures))
    for form, other in (("DO", "PO"), ("PO", "DO")):
        of_form = [i for i, e in enumerate(exposures) if e.form == form]
        result[of_form] = score_all(learner, tests.forms[other], vectors[of_form], setting).mean(
            axis=1
        )
    return result


def curves(
    learner: Learner,
    exposures: Sequence[Exposure],
    learnt: Learnt,
    setting: Setting,
    tests: Tests,
    some: Sequence[int],
) -> pd.DataFrame:
    """Return loss, verb-hood and scores of some exposures at the start and at every checkpoint."""
    rows = []
    for step in (0, *setting.checkpoints):
        vectors = learnt.path.vectors[step, list(some)]
        verbhood = tests.validation.verbhood(learner, vectors)
        by_form = {
            form: score_all(learner, frames, vectors, setting).mean(axis=1)
            for form, frames in tests.forms.items()
        }
        control = score_all(learner, tests.control, vectors, setting).mean(axis=1)
        for i, number in enumerate(some):
            exposure = exposures[number]
            other = "PO" if exposure.form == "DO" else "DO"
            rows.append(
                {
                    "step": step,
                    "direction": exposure.direction,
                    "exposure": exposure.text,
                    "loss": learnt.path.losses[step, number],
                    "verbhood": verbhood[i],
                    "other": by_form[other][i],
                    "same": by_form[exposure.form][i],
                    "control": control[i],
                }
            )
    return pd.DataFrame(rows)


def real_verbs(
    learner: Learner, verbs: Sequence[str], setting: Setting, tests: Tests
) -> dict[str, float]:
    """Return mean scores of both forms and the control with embeddings of real verbs, a ceiling.

    Verbs that are no single token are left out; nan if none is left.
    """
    ids = [learner.tokenizer(f" {verb}", add_special_tokens=False)["input_ids"] for verb in verbs]
    single = [i[0] for i in ids if len(i) == 1]
    if not single:
        return dict.fromkeys((*stimuli.FORMS, "control"), float("nan"))
    vectors = learner.embeddings[single].cpu()
    frames = {**tests.forms, "control": tests.control}
    return {
        name: float(score_all(learner, parts, vectors, setting).mean())
        for name, parts in frames.items()
    }


def interval_text(values: ArrayLike, digits: int = 3) -> str:
    """Return "mean [low, high]", the 95 % t interval of a mean."""
    mean = mean_interval(values, 0.95)
    return f"{mean.estimate:.{digits}f} [{mean.low:.{digits}f}, {mean.high:.{digits}f}]"


def _scored(learner: Learner, text: str) -> int:
    sentence = encode(learner, text)
    return len(sentence.before) + len(sentence.after)
