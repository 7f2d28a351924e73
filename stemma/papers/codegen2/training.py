"""One model: its examples, its training, its measurements."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from stemma.models import lm
from stemma.models.training import train
from stemma.papers.codegen2 import evaluation
from stemma.papers.codegen2.attention import example_loss
from stemma.papers.codegen2.data import CODE, Corpus, Rows
from stemma.papers.codegen2.objectives import Objective, supervised_tokens


@dataclass(frozen=True)
class Recipe:
    """How models are built and trained: AdamW, 5 % warm-up, cosine to zero.

    Attributes:
        d_model: width.
        n_layers: blocks.
        n_heads: heads a block.
        batch: examples a step.
        rate: peak learning rate.
        device: cpu or cuda; cuda computes in bfloat16.
    """

    d_model: int
    n_layers: int
    n_heads: int
    batch: int
    rate: float
    device: str = "cpu"


@dataclass(frozen=True)
class Exam:
    """What every model is measured on.

    Attributes:
        corpus: rows, holes, tokenizer.
        rows: rows of each domain that are scored.
        answered: holes that are filled by greedy decoding.
        probe: rows of code and their modules, for the linear probe.
    """

    corpus: Corpus
    rows: dict[str, Rows]
    answered: int
    probe: tuple[Rows, NDArray[np.str_]]


@dataclass(frozen=True)
class Job:
    """One model to be trained.

    Attributes:
        name: of the kind of run.
        seed: of the replicate; decides the initial weights.
        objective: what it is trained to do.
        examples: what it is trained on, in this order, shape (steps * batch, ctx + 2).
        holes: whether holes, prompts and the probe are measured too, or rows alone.
    """

    name: str
    seed: int
    objective: Objective
    examples: Rows
    holes: bool


def build(recipe: Recipe, vocab_size: int, ctx: int, seed: int) -> PreTrainedModel:
    """Return a fresh decoder with rotary positions and parallel attention, as GPT-J and CodeGen."""
    config = lm.small_config(
        "gpt-neox",
        vocab_size=vocab_size,
        hidden=recipe.d_model,
        layers=recipe.n_layers,
        heads=recipe.n_heads,
        positions=2 * ctx,  # greedy answers may grow beyond the rows
    )
    model = lm.build(config, seed)
    model.to(recipe.device)  # type: ignore[arg-type]
    return model


def fit(model: PreTrainedModel, examples: Rows, recipe: Recipe, schedule: Any = "cosine") -> float:
    """Train in place on the examples in their order; return the last steps' mean loss in nats."""
    steps = -(-len(examples) // recipe.batch)
    log = train(
        model,
        examples,
        np.arange(len(examples)),
        batch_size=recipe.batch,
        learning_rate=recipe.rate,
        schedule=schedule,
        warmup=max(1, round(0.05 * steps)),
        bf16=recipe.device == "cuda",
        loss=example_loss,
    )
    return float(log.losses[-max(1, steps // 10) :].mean())


def run_job(job: Job, recipe: Recipe, exam: Exam) -> dict[str, Any]:
    """Train one model and return a row of measurements."""
    corpus = exam.corpus
    ctx = job.examples.shape[1] - 2
    model = build(recipe, len(corpus.widths), ctx, job.seed)
    row: dict[str, Any] = {
        "run": job.name,
        "seed": job.seed,
        "steps": -(-len(job.examples) // recipe.batch),
        "tokens": len(job.examples) * ctx,
        "supervised": supervised_tokens(job.examples),
        "training loss": fit(model, job.examples, recipe),
    }
    row |= measure_rows(model, exam)
    return row | measure_holes(model, job.objective, exam) if job.holes else row


def measure_rows(model: PreTrainedModel, exam: Exam) -> dict[str, Any]:
    """Return bits per byte of the held-out rows of each domain, left to right."""
    return {
        domain: evaluation.bits_per_byte(
            model, evaluation.whole_rows(rows), exam.corpus.widths, prefix=False
        )
        for domain, rows in exam.rows.items()
    }


def measure_holes(model: PreTrainedModel, objective: Objective, exam: Exam) -> dict[str, Any]:
    """Return what shows a model's own attention and formats.

    Bits per byte of the second halves of rows given the first (``prompted``) and of holes in each
    format; greedy ``lines`` in the format that the model knows and their exact ``match``; the
    accuracy of the ``probe``.
    """
    corpus, prefix = exam.corpus, objective.prefix
    half = evaluation.whole_rows(exam.rows[CODE], exam.rows[CODE].shape[1] // 2)
    row: dict[str, Any] = {"prompted": evaluation.bits_per_byte(model, half, corpus.widths, prefix)}
    formats = evaluation.FORMATS if objective.p_span else evaluation.FORMATS[:2]
    for form in formats:
        asked = evaluation.ask(corpus.holes, form, corpus.specials)
        row[form] = evaluation.bits_per_byte(model, asked, corpus.widths, prefix)
    known: evaluation.Format = "masked" if objective.p_span else "left only"
    holes = corpus.holes[: exam.answered]
    row["lines"] = evaluation.infill(model, corpus, holes, known, prefix)
    row["match"] = evaluation.exact_matches(row["lines"], corpus, holes)
    states = evaluation.mean_states(model, exam.probe[0], prefix)
    row["probe"] = evaluation.probe_accuracy(states, exam.probe[1], seed=0)
    return row
