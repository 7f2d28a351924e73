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
from stemma.papers.codegen2.objectives import Objective, SpanLaw, supervised_tokens


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
        law: of the spans.
    """

    corpus: Corpus
    rows: dict[str, Rows]
    answered: int
    probe: tuple[Rows, NDArray[np.str_]]
    law: SpanLaw


@dataclass(frozen=True)
class Job:
    """One model to be trained.

    Attributes:
        name: of the kind of run.
        seed: of the replicate; decides the initial weights.
        objective: what it is trained to do.
        examples: what it is trained on, in this order, shape (steps * batch, ctx + 2).
    """

    name: str
    seed: int
    objective: Objective
    examples: Rows


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
    """Train one model and return a row of measurements; ``lines`` are its answers by format."""
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
    return row | measure(model, job.objective, exam)


def measure(model: PreTrainedModel, objective: Objective, exam: Exam) -> dict[str, Any]:
    """Return bits per byte, exact matches, accuracy of the probe, and answers of one model.

    Left to right is measured with causal attention; a prompt, holes and the probe with the model's
    own attention.
    """
    corpus, prefix = exam.corpus, objective.prefix
    widths = corpus.widths
    row: dict[str, Any] = {}
    for domain, rows in exam.rows.items():
        whole = evaluation.whole_rows(rows)
        row[domain] = evaluation.bits_per_byte(model, whole, widths, prefix=False)
    half = evaluation.whole_rows(exam.rows[CODE], exam.rows[CODE].shape[1] // 2)
    row["prompted"] = evaluation.bits_per_byte(model, half, widths, prefix)
    lines = {}
    for form in evaluation.FORMATS:
        if form == "masked" and not objective.p_span:
            continue
        asked = evaluation.ask(corpus.holes, form, corpus.specials)
        row[form] = evaluation.bits_per_byte(model, asked, widths, prefix)
        holes = corpus.holes[: exam.answered]
        lines[form] = evaluation.infill(model, corpus, holes, form, prefix)
        row[f"match {form}"] = evaluation.exact_matches(lines[form], corpus, holes)
    states = evaluation.mean_states(model, exam.probe[0], prefix)
    row["probe"] = evaluation.probe_accuracy(states, exam.probe[1], seed=0)
    return row | {"lines": lines}
