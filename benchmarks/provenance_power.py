"""Power of the query test on what can be made from a model, over five Alices.

Run: OMP_NUM_THREADS=1 .venv/bin/python benchmarks/provenance_power.py --out FILE.md

Fixed before any result was seen: half the examples are asked, drawn by chance; the reference of
Alice i is her sibling i + 1, the merge partner her sibling i + 2 (same data and initial weights,
another order); the innocent suspects are the siblings i + 2, i + 3 and i + 4; difference of
log-likelihoods, one-sided, 9,999 permutations; Holm over all suspects of one Alice at .05.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import PreTrainedModel

import provenance as pv
from stemma.models.alice import Alice, Scale, alice
from stemma.models.corpus import Rows
from stemma.models.derivatives import fine_tunes, lora, student
from stemma.models.dpo import dpo, real_against_sampled
from stemma.models.pretraining import initial_model
from stemma.models.scoring import sequence_losses
from stemma.models.training import Recipe
from stemma.models.weights import average, quantize_round

ALICES = 5
PERMUTATIONS = 9_999
LEVEL = 0.05
AMOUNTS = (0.05, 0.2, 1.0)
PROMPT = 8  # tokens
INNOCENT = "sibling (innocent)"

Suspects = Iterator[tuple[str, PreTrainedModel]]


def derivatives(own: Alice, partner: PreTrainedModel, seed: int) -> Suspects:
    """Yield every derivative of one Alice; ``seed`` decides all that is random."""
    corpus, recipe = own.corpus, own.run.recipe
    share = round(0.2 * len(corpus.bob))
    rng = np.random.default_rng(seed)
    yield "Alice herself", own.model
    for amount, model in fine_tunes(own.model, corpus.bob, AMOUNTS, recipe, rng).items():
        yield f"fine-tune {amount:.0%}", model
    gentle = Recipe(recipe.batch_size, recipe.learning_rate / 10, recipe.device)
    yield "LoRA, rank 8, 20%", lora(own.model, corpus.bob[:share], recipe, seed)
    pairs = real_against_sampled(own.model, corpus.bob[:share], PROMPT, seed)
    yield "DPO, 20%", dpo(own.model, pairs, gentle, seed)
    yield "merge 0.5/0.5 with a sibling", average([own.model, partner], [0.5, 0.5])
    yield "8-bit rounding", quantize_round(own.model, 8)
    yield "4-bit rounding", quantize_round(own.model, 4)
    start = initial_model(own.model.config, 1_000 + seed, recipe.device)
    yield (
        "student of samples",
        student(own.model, start, corpus.prompts[:, :PROMPT], own.plan.length, recipe, seed),
    )


def scores(model: PreTrainedModel, rows: Rows) -> NDArray[np.float64]:
    """Return the log-likelihood of every row, shape (n,), in nats."""
    return -sequence_losses(model, rows) * (rows.shape[1] - 1)


def table_of(alices: list[Alice], i: int, tick: Callable[[], object]) -> pd.DataFrame:
    """Test all suspects of Alice i and return a row a suspect."""
    own, (reference, partner, *others) = alices[i], alices[i + 1 :] + alices[:i]
    asked = np.random.default_rng([99, i]).permutation(len(own.rows))[: len(own.rows) // 2]
    rows, found = own.rows[asked], {}
    for name, model in derivatives(own, partner.model, seed=i):
        found[name] = scores(model, rows)
        tick()
    for other in (partner, *others):
        found[f"{INNOCENT} {other.seed}"] = scores(other.model, rows)
    against = pv.Reference.from_scores(scores(reference.model, rows), reference.lineage)
    outcome = pv.query_family(
        own.transcript.take(asked), found, against, permutations=PERMUTATIONS, resamples=0, seed=i
    )
    lines = [
        {
            "alice": i,
            "suspect": INNOCENT if name.startswith(INNOCENT) else name,
            "rho": result.test.rho,
            "exact p": result.p,
            "Holm p": outcome.family.adjusted[name],
            "log10 p": result.test.log10_p_asymptotic,
            "certified log10 p": result.test.log10_p_certified,
            "queries": result.test.n,
        }
        for name, result in outcome.results.items()
    ]
    return pd.DataFrame(lines)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row a kind of suspect: medians over Alices, and how many were flagged."""
    groups = table.assign(flagged=table["Holm p"] <= LEVEL).groupby("suspect", sort=False)
    return pd.DataFrame(
        {
            "suspects": groups.size(),
            "flagged (Holm)": groups["flagged"].sum(),
            "rho": groups["rho"].median().map("{:+.3f}".format),
            "median exact p": groups["exact p"].median().map("{:.2g}".format),
            "largest Holm p": groups["Holm p"].max().map("{:.2g}".format),
            "smallest Holm p": groups["Holm p"].min().map("{:.2g}".format),
            "log10 p": groups["log10 p"].median().map("{:.1f}".format),
            "log10 p, worst": groups["log10 p"].max().map("{:.1f}".format),
            "certified log10 p": groups["certified log10 p"].median().map("{:.1f}".format),
            "queries": groups["queries"].first(),
        }
    ).reset_index()


def page(table: pd.DataFrame, own: Alice, scale: str, seconds: float) -> str:
    """Return the whole document."""
    parameters = sum(p.numel() for p in own.model.parameters())
    return f"""# Power of the query test

Made by

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/provenance_power.py --scale {scale} --out FILE

in {seconds / 60:.0f} minutes on one core (torch {torch.__version__}, Python \
{sys.version.split()[0]}).

{ALICES} Alices of {parameters:,} parameters, {own.plan.n_train:,} examples each. They share
examples and initial weights; the order alone differs. Reference: a sibling that is neither suspect
nor merge partner. Half the examples are asked, drawn by chance. One-sided, {PERMUTATIONS:,}
permutations, so that no exact p is below {1 / (PERMUTATIONS + 1):.0e}; `log10 p` is the
t approximation, `certified` a bound that needs neither permutations nor a limit law. Holm over all
suspects of one Alice, flagged at {LEVEL}. Percentages are shares of the examples of pre-training.
Medians are over Alices; "worst" is the largest of them. Siblings trained on the same data in
another order are innocent: what is flagged there is a false positive.

{summary(table).to_markdown(index=False, disable_numparse=True)}

The innocent siblings of one Alice are few and their p-values depend on each other, so that they do
not calibrate the test; the test suite does that with 1,000 null replicates.

## Every suspect

{table.round(4).to_markdown(index=False)}
"""


def main() -> None:
    """Train or load the Alices, test all suspects, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="small", choices=["smoke", "small", "gpu"])
    parser.add_argument("--out", type=Path, help="Markdown file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    scale: Scale = options.scale
    alices = []
    for seed in range(ALICES):
        with tqdm(desc=f"Alice {seed}") as bar:
            alices.append(alice(scale, seed=seed, progress=lambda *_, bar=bar: bar.update()))
    with tqdm(total=10 * ALICES, desc="derivatives") as bar:
        table = pd.concat([table_of(alices, i, bar.update) for i in range(ALICES)])
    text = page(table, alices[0], scale, time.perf_counter() - begun)
    print(summary(table).to_markdown(index=False, disable_numparse=True))
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
