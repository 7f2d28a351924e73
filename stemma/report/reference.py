"""Reference results: committed results of real runs, and the README's table made from them.

A paper's reference at a scale is one run, and any number of repeats of it with other seeds. Its
verdicts are those that all of them give (`stemma.claims.agreement`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from stemma import catalog, files, paths
from stemma.batch.plan import latest_result
from stemma.batch.records import Result
from stemma.catalog import Paper, Scale, Value
from stemma.claims import Verdict
from stemma.claims.agreement import agree
from stemma.errors import RunError

START = "<!-- results:start (written by `stemma report --write README.md`) -->"
END = "<!-- results:end -->"
_REPEATS = "repeats"


def folder() -> Path:
    """Return the folder of the reference results."""
    return paths.home() / "runs" / "reference"


def promote(slug: str, scale: Scale) -> Path:
    """Copy the latest completed result of a paper at a scale to the references.

    Repeats of an earlier reference are removed: they ran other code or other parameters.

    Raises:
        CatalogError: unknown slug.
        RunError: there is no completed run.
    """
    result = _latest(slug, scale)
    path = _file(slug, scale)
    if not path.exists() or Result.read(path).key != result.key:
        for repeat in _repeats(slug, scale):
            repeat.unlink()
    return _keep(result, path)


def promote_repeat(slug: str, scale: Scale) -> Path:
    """Copy the latest completed result to the references as a repeat with another seed.

    Raises:
        CatalogError: unknown slug.
        RunError: there is no completed run, no reference to repeat, or the two differ in more, or
            less, than their seed.
    """
    result = _latest(slug, scale)
    first = Result.find(_file(slug, scale))
    if first is None:
        raise RunError(f"{slug} has no reference at {scale} to repeat: drop --repeat")
    if _beside_the_seed(first) != _beside_the_seed(result) or _seed(first) == _seed(result):
        raise RunError(
            f"the latest run of {slug} at {scale} (seed {_seed(result)}) is no repeat of its "
            f"reference (seed {_seed(first)}): the seed has to differ, and no other parameter, "
            "data or version of the paper may"
        )
    return _keep(result, folder() / _REPEATS / f"{slug}.{scale}.seed-{_seed(result)}.json")


def _keep(result: Result, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, result.model_dump(mode="json"))
    return path


def _latest(slug: str, scale: Scale) -> Result:
    catalog.load(slug)
    result = latest_result(slug, scale)
    if result is None:
        raise RunError(
            f"no completed run of {slug} at {scale}: `stemma run {slug} --scale {scale}`"
        )
    return result


def _file(slug: str, scale: Scale) -> Path:
    return folder() / f"{slug}.{scale}.json"


def _repeats(slug: str, scale: Scale) -> list[Path]:
    return sorted((folder() / _REPEATS).glob(f"{slug}.{scale}.seed-*.json"))


def _seed(result: Result) -> Value:
    return result.parameters.get("seed", "none")


def _beside_the_seed(result: Result) -> tuple[Mapping[str, Value], Mapping[str, str], int]:
    return {**result.parameters, "seed": 0}, result.digests, result.paper_version


def find(paper: Paper, scale: Scale) -> Result | None:
    """Return the committed reference of a paper at a scale, judged by the present rules."""
    stored = Result.find(_file(paper.slug, scale))
    return _agreed(_with_repeats(stored)) if stored else None


def references() -> list[Result]:
    """Return the committed references, judged by the present rules, by slug and scale."""
    return [_agreed(_with_repeats(first)) for first in first_runs()]


def first_runs() -> list[Result]:
    """Return the committed references without their repeats, judged by the present rules."""
    stored: list[Result] = [Result.read(path) for path in sorted(folder().glob("*.json"))]
    return sorted(map(_judged, stored), key=lambda r: (r.slug, catalog.SCALES.index(r.scale)))


def _judged(result: Result) -> Result:
    return result.judged_by(catalog.load(result.slug))


def _with_repeats(first: Result) -> list[Result]:
    repeats: list[Result] = [Result.read(path) for path in _repeats(first.slug, first.scale)]
    return [_judged(first), *map(_judged, repeats)]


def _agreed(runs: Sequence[Result]) -> Result:
    claims = agree({f"seed {_seed(run)}": run.claims for run in runs})
    return runs[0].model_copy(update={"claims": claims})


def results_markdown() -> str:
    """Return the results table: one row a reference result, verdicts counted and named."""
    head = ["paper", "scale", "seeds", *(v.value for v in Verdict), "minutes"]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for first in first_runs():
        runs = _with_repeats(first)
        result = _agreed(runs)
        paper = catalog.load(result.slug)
        by_verdict: dict[Verdict, list[str]] = {verdict: [] for verdict in Verdict}
        for claim in result.claims:
            by_verdict[claim.verdict].append(claim.claim)
        cells = [
            f"[{paper.title}](https://arxiv.org/abs/{paper.arxiv}) (`{paper.slug}`)",
            result.scale,
            ", ".join(str(_seed(run)) for run in runs),
            *(", ".join(by_verdict[verdict]) or "-" for verdict in Verdict),
            f"{result.seconds / 60:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def replace_table(path: Path, table: str) -> None:
    """Replace what stands between the markers of ``path`` by ``table``.

    Raises:
        RunError: the file has no markers.
    """
    text = path.read_text(encoding="utf-8")
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise RunError(f"{path} has no lines `{START}` and `{END}` to write the table between")
    files.write_atomically(path, f"{before}{START}\n{table}\n{END}{after}")
