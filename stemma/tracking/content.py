"""What a run's folder says, in MLflow's terms: parameters, tags, metrics, description, data sets.

Pure functions of the plain records of a run folder; none imports MLflow.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from stemma.claims import Verdict

PREFIX = "stemma/"
BATCHES = "batches"

KEY, STARTED, STATE, FAILURE = "stemma.key", "stemma.started", "stemma.state", "stemma.failure"
BATCH, BATCH_RUN, RUNNER, COMPLETE = (
    "stemma.batch",
    "stemma.batch_run",
    "stemma.runner",
    "stemma.complete",
)
NOTE = "mlflow.note.content"

UNFINISHED = frozenset({"queued", "starting", "running"})
_STATUS = {"succeeded": "FINISHED", "cancelled": "KILLED"}

VERDICTS = tuple(verdict.value for verdict in Verdict)
ONLY_CELL = "all"
PEAKS = {"memory/peak_mb": "system/memory_mb", "memory/gpu_peak_mb": "system/gpu_memory_mb"}
"""The system metrics whose highest value is a metric of its own."""

_MAX_PARAMETER = 6000
_MAX_TAG = 8000
_MAX_NAME = 250
_MAX_DIGEST = 36

Json = dict[str, Any]


class Point(NamedTuple):
    """One point of a metric; the time in milliseconds since the epoch."""

    name: str
    value: float
    time: int
    step: int


class Records(NamedTuple):
    """The stored records of one run; ``result`` is None if the worker did not finish."""

    spec: Json
    state: Json
    result: Json | None


def read_records(folder: Path) -> Records:
    """Return the records of a run folder; OSError or ValueError if it is not one."""
    result = folder / "result.json"
    return Records(
        _read(folder / "spec.json"),
        _read(folder / "state.json"),
        _read(result) if result.is_file() else None,
    )


def _read(path: Path) -> Json:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object")
    return value


def status(state: str) -> str:
    """Return MLflow's status of a final state."""
    return _STATUS.get(state, "FAILED")


def milliseconds(seconds: float) -> int:
    """Return a time in MLflow's unit."""
    return round(seconds * 1000)


def started_tag(state: Mapping[str, Any]) -> str:
    """Return the tag that, with the key, tells one execution from another."""
    return f"{state['started']:.3f}" if state.get("started") is not None else ""


def run_name(spec: Mapping[str, Any]) -> str:
    """Return the run's name in MLflow."""
    return f"{spec['slug']} {spec['scale']} {spec['key'][:8]}"


def parameters(spec: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters as text; lists and booleans as JSON."""
    values = {"scale": spec["scale"], **spec["parameters"]}
    return {
        name: (value if isinstance(value, str) else json.dumps(value))[:_MAX_PARAMETER]
        for name, value in values.items()
    }


def tags(spec: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags that identify a run."""
    own = {
        "stemma.slug": spec["slug"],
        "stemma.scale": spec["scale"],
        KEY: spec["key"],
        BATCH: spec["batch"],
        "stemma.paper_version": spec["paper_version"],
        "stemma.device": spec["device"],
        "mlflow.source.name": Path(spec["notebook"]).name,
        "mlflow.source.type": "NOTEBOOK",
        "mlflow.source.git.commit": spec["fingerprint"].get("git_commit", ""),
    }
    own |= {f"stemma.with.{name}": value for name, value in spec["fingerprint"].items()}
    return {name: str(value)[:_MAX_TAG] for name, value in own.items()}


def final_tags(records: Records) -> dict[str, str]:
    """Return the tags of a finished run: its state and the verdict on each claim."""
    state = records.state
    found = {STATE: state["state"], STARTED: started_tag(state)}
    if state.get("failure"):
        found[FAILURE] = state["failure"]
    for claim in claims(records):
        found[f"verdict.{claim['claim']}"] = claim["verdict"]
    return found


def claims(records: Records) -> list[Json]:
    """Return the judged claims; none if the run did not finish."""
    return list(records.result["claims"]) if records.result else []


def metric_name(name: str) -> str:
    """Return ``name`` with what MLflow refuses in a metric's name replaced by underscores."""
    words = [re.sub(r"[^\w.\- ]+", "_", part).strip() for part in name.split("/")]
    return "/".join(word for word in words if word.strip("."))[:_MAX_NAME].rstrip("/ ") or "_"


def model_name(name: str) -> str:
    """Return ``name`` with what MLflow refuses in a model's name replaced by underscores."""
    return re.sub(r"[/:.%\"']+", "_", name) or "_"


def event_points(event: Mapping[str, Any], sample: int) -> list[Point]:
    """Return the metric points of a ``metric`` or ``system`` event, none for other kinds.

    Args:
        event: one line of ``events.jsonl``.
        sample: how many ``system`` events came before; their step.
    """
    when = milliseconds(event["time"])
    if event["kind"] == "metric":
        return [Point(metric_name(event["name"]), event["value"], when, event["step"])]
    if event["kind"] == "system":
        return [Point(metric_name(n), v, when, sample) for n, v in event["metrics"].items()]
    return []


def claim_points(records: Records) -> list[Point]:
    """Return estimate and interval of every cell of every claim as metrics.

    They are named ``claims/<claim>/<estimate, low or high>/<cell>``: MLflow groups charts by all
    but the last word, so that the estimates of a claim stand side by side.
    """
    when = _ended(records)
    return [
        Point(f"{_claim_prefix(claim['claim'])}/{field}/{name}", float(cell[field]), when, 0)
        for claim in claims(records)
        for name, cell in zip(_cell_names(claim), claim["cells"], strict=True)
        for field in ("estimate", "low", "high")
        if cell[field] is not None
    ]


def _claim_prefix(claim_id: str) -> str:
    return metric_name(f"claims/{claim_id}")


def _cell_names(claim: Json) -> list[str]:
    """Return one distinct name a cell; cells may differ only in refused characters."""
    room = _MAX_NAME - len(_claim_prefix(claim["claim"])) - 20
    names: list[str] = []
    for cell in claim["cells"]:
        name = metric_name(cell["cell"].replace("/", "_") or ONLY_CELL)[:room]
        others = (f"{name} {n}" for n in count(2))
        names.append(name if name not in names else next(o for o in others if o not in names))
    return names


def common_points(records: Records, peaks: Mapping[str, float]) -> list[Point]:
    """Return the metrics that every paper has under the same name, to be charted across papers.

    Args:
        records: the run.
        peaks: the highest value of each sampled system metric.
    """
    judged = claims(records)
    counts = Counter(claim["verdict"] for claim in judged)
    values: dict[str, float] = {
        f"claims/{verdict}": counts[verdict] for verdict in VERDICTS if judged
    }
    if records.result:
        passed = [check["passed"] for check in records.result.get("checks", [])]
        values |= {"checks/passed": passed.count(True), "checks/failed": passed.count(False)}
    values |= {name: peaks[sampled] for name, sampled in PEAKS.items() if sampled in peaks}
    if records.state.get("ended") and records.state.get("started"):
        values["time/minutes"] = (records.state["ended"] - records.state["started"]) / 60
    when = _ended(records)
    return [Point(name, float(value), when, 0) for name, value in values.items()]


def _ended(records: Records) -> int:
    return milliseconds(records.state.get("ended") or 0)


def description(records: Records, links: Sequence[str] = ()) -> str:
    """Return the run's description in Markdown: what became of it, links, the table of claims."""
    spec, state = records.spec, records.state
    seconds = (state.get("ended") or 0) - (state.get("started") or 0)
    lines = [
        f"**{spec['slug']}** at scale **{spec['scale']}**: {state['state']}"
        f" after {seconds:.0f} s on {spec['device']}"
    ]
    if state.get("message"):
        lines.append(f"> {state['message']}")
    if claims(records):
        lines.append(_verdict_counts(records))
    lines += links
    if claims(records):
        lines.append(_claims_table(records))
    return "\n\n".join(lines)[:_MAX_TAG]


def _verdict_counts(records: Records) -> str:
    counts = Counter(claim["verdict"] for claim in claims(records))
    return "Claims: " + ", ".join(f"{counts[v]} {v}" for v in VERDICTS if counts[v])


def _claims_table(records: Records) -> str:
    from stemma import catalog
    from stemma.claims import ClaimResult
    from stemma.errors import CatalogError
    from stemma.tables import claims_markdown

    results = [ClaimResult.model_validate(claim) for claim in claims(records)]
    try:
        return claims_markdown(catalog.load(records.spec["slug"]), results)
    except (CatalogError, KeyError):
        # An old run may name a paper or a claim that the catalog no longer has.
        return "\n".join(f"- {r.claim}: {r.verdict} ({r.reason})" for r in results)


def evidence_table(records: Records) -> dict[str, list[Any]] | None:
    """Return the raw evidence as columns, one row a number; None if nothing was measured."""
    rows = [
        (claim, cell, sample, index, number)
        for claim, cells in (records.result or {}).get("evidence", {}).items()
        for cell, samples in cells.items()
        for sample, values in samples.items()
        for index, number in _flatten(values)
    ]
    if not rows:
        return None
    names = ("claim", "cell", "sample", "index", "value")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def _flatten(values: Any, index: str = "") -> Iterator[tuple[str, float]]:
    if not isinstance(values, list):
        yield index, float(values)
        return
    for i, value in enumerate(values):
        yield from _flatten(value, f"{index},{i}" if index else str(i))


class Source(NamedTuple):
    """A data source that a run read; ``digest`` is short enough for MLflow."""

    name: str
    digest: str
    sha256: str
    roles: str


def sources(spec: Mapping[str, Any]) -> list[Source]:
    """Return the data sources; one that serves several roles stands once, as MLflow wants it."""
    roles: dict[str, list[str]] = {}
    for role, name in spec["sources"].items():
        roles.setdefault(name, []).append(role)
    digests = spec["digests"]
    return [
        Source(name, digests[name][:_MAX_DIGEST], digests[name], ", ".join(of))
        for name, of in roles.items()
    ]
