"""What a run's folder says, in MLflow's terms: parameters, tags, metrics, description, data sets.

Pure functions of the plain records of a run folder; none imports MLflow.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

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
    """Return estimate and interval of every cell of every claim as metrics."""
    when = milliseconds(records.state.get("ended") or 0)
    points = []
    for claim in claims(records):
        for name, cell in zip(_cell_names(claim), claim["cells"], strict=True):
            points += [
                Point(f"{name}/{field}"[:_MAX_NAME], float(cell[field]), when, 0)
                for field in ("estimate", "low", "high")
                if cell[field] is not None
            ]
    return points


def _cell_names(claim: Json) -> list[str]:
    """Return one distinct metric prefix a cell; cells may differ only in refused characters."""
    seen: Counter[str] = Counter()
    names = []
    for cell in claim["cells"]:
        inner = cell["cell"].replace("/", "_")
        name = metric_name(f"claim/{claim['claim']}/{inner}")[: _MAX_NAME - 20]
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return names


def description(records: Records) -> str:
    """Return the run's description: what became of it, and the table of claims, in Markdown."""
    spec, state = records.spec, records.state
    seconds = (state.get("ended") or 0) - (state.get("started") or 0)
    lines = [
        f"**{spec['slug']}** at scale **{spec['scale']}**: {state['state']}"
        f" after {seconds:.0f} s on {spec['device']}"
    ]
    if state.get("message"):
        lines.append(f"> {state['message']}")
    if claims(records):
        lines.append(_claims_table(records))
    return "\n\n".join(lines)[:_MAX_TAG]


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
