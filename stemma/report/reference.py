"""Reference results: committed results of real runs, and the README's table made from them."""

from pathlib import Path

from stemma import catalog, files, paths
from stemma.batch.plan import latest_result
from stemma.batch.records import Result
from stemma.catalog import Paper, Scale
from stemma.claims import Verdict
from stemma.errors import RunError

START = "<!-- results:start (written by `stemma report --write README.md`) -->"
END = "<!-- results:end -->"


def folder() -> Path:
    """Return the folder of the reference results."""
    return paths.home() / "runs" / "reference"


def promote(slug: str, scale: Scale) -> Path:
    """Copy the latest completed result of a paper at a scale to the references.

    Raises:
        CatalogError: unknown slug.
        RunError: there is no completed run.
    """
    catalog.load(slug)
    result = latest_result(slug, scale)
    if result is None:
        raise RunError(
            f"no completed run of {slug} at {scale}: `stemma run {slug} --scale {scale}`"
        )
    path = folder() / f"{slug}.{scale}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, result.model_dump(mode="json"))
    return path


def find(paper: Paper, scale: Scale) -> Result | None:
    """Return the committed reference result of a paper at a scale, judged by the present rules."""
    stored = Result.find(folder() / f"{paper.slug}.{scale}.json")
    return stored.judged_by(paper) if stored else None


def references() -> list[Result]:
    """Return the committed reference results, judged by the present rules, by slug and scale."""
    stored: list[Result] = [Result.read(path) for path in sorted(folder().glob("*.json"))]
    judged = [result.judged_by(catalog.load(result.slug)) for result in stored]
    return sorted(judged, key=lambda r: (r.slug, catalog.SCALES.index(r.scale)))


def results_markdown() -> str:
    """Return the results table: one row a reference result, verdicts counted and named."""
    head = ["paper", "scale", *(v.value for v in Verdict), "minutes"]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for result in references():
        paper = catalog.load(result.slug)
        by_verdict: dict[Verdict, list[str]] = {verdict: [] for verdict in Verdict}
        for claim in result.claims:
            by_verdict[claim.verdict].append(claim.claim)
        cells = [
            f"[{paper.title}](https://arxiv.org/abs/{paper.arxiv}) (`{paper.slug}`)",
            result.scale,
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
