"""Run folders of a batch, made from the committed reference results."""

from pathlib import Path

from stemma.batch import batches
from stemma.batch.records import Batch, BatchRun, Result, RunState, Spec

REFERENCES = Path(__file__).resolve().parents[1] / "runs" / "reference"
PAPERS = ("dpp-least-squares", "palimpsest", "predictive-multiplicity")
"""The references that tests show; few, so that a new one changes no test."""

BATCH = "20261125-references"


def write_references(runs: Path) -> Batch:
    """Write the run folders of PAPERS under ``runs`` (STEMMA_RUNS), and their batch."""
    results: list[Result] = [Result.read(REFERENCES / f"{slug}.small.json") for slug in PAPERS]
    entries = [_write(runs, result) for result in results]
    batch = Batch(
        id=BATCH,
        name="references",
        created=min(result.started for result in results),
        host="reference",
        runs=entries,
    )
    batches.folder(batch.id).mkdir(parents=True)
    batch.write(batches.folder(batch.id) / "batch.json")
    for entry in entries:
        batches.keep(batch.id, entry, RunState.read(batches.run_folder(entry) / "state.json"))
    return batch


def _write(runs: Path, result: Result) -> BatchRun:
    name = f"out/{result.slug}/{result.key[:16]}"
    folder = runs / name
    folder.mkdir(parents=True)
    spec = Spec(
        slug=result.slug,
        scale=result.scale,
        key=result.key,
        ingredients={},
        parameters=result.parameters,
        sources=result.sources,
        digests=result.digests,
        batch=BATCH,
        notebook=f"notebooks/{result.slug}.ipynb",
        timeout=600.0,
        threads=1,
        device=result.device,
        paper_version=result.paper_version,
        fingerprint=result.fingerprint,
    )
    spec.write(folder / "spec.json")
    result.write(folder / "result.json")
    state = RunState(
        state=result.outcome, started=result.started, ended=result.started + result.seconds
    )
    state.write(folder / "state.json")
    return BatchRun(
        slug=result.slug, scale=result.scale, key=result.key, folder=name, label=result.slug
    )
