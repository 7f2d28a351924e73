"""The view of an experiment that MLflow's page opens with: which columns, which charts.

MLflow keeps a saved view as a tag of its experiment; whoever opens the experiment finds it under
*Views*, and a link may name it. The format is MLflow 3.17's own (its share button writes the same);
an MLflow that does not know it shows its default view.
"""

import base64
import json
import zlib
from typing import Any

from stemma.catalog import Paper
from stemma.tracking.store import TRAINING

KEY = "stemma"
TAG = f"mlflow.sharedViewState.{KEY}"

_BATCH_STATES = ("succeeded", "failed", "timed out", "cancelled", "lost")


def view_tag(paper: Paper | None, time: int) -> dict[str, str]:
    """Return the experiment tag that holds the saved view.

    Args:
        paper: the experiment's paper; None for the experiment of the batches.
        time: milliseconds since the epoch, shown by MLflow.
    """
    state = json.dumps(_batches_state() if paper is None else _paper_state(paper))
    packed = base64.b64encode(zlib.compress(state.encode(), 9)).decode()
    envelope = {
        "name": "Batches" if paper is None else "Claims",
        "createdAt": time,
        "updatedAt": time,
        "state": f"deflate;{packed}",
    }
    return {TAG: json.dumps(envelope)}


def unpack(tag: str) -> dict[str, Any]:
    """Return the state that a saved view's tag holds."""
    packed = json.loads(tag)["state"].removeprefix("deflate;")
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


def table_link(experiment_id: str) -> str:
    """Return the address, on any server, of the experiment's table with the view's columns."""
    return f"#/experiments/{experiment_id}/runs?{TRAINING}&viewStateShareKey={KEY}"


def charts_link(experiment_id: str) -> str:
    """Return the address, on any server, of the experiment's charts."""
    return f"{table_link(experiment_id)}&compareRunsMode=CHART"


def _paper_state(paper: Paper) -> dict[str, Any]:
    claims = [claim.id for claim in paper.claims]
    columns = [
        _column("params", "scale"),
        *(_column("tags", f"verdict.{claim}") for claim in claims),
        _column("metrics", "time/minutes"),
    ]
    # MLflow adds a chart for each metric to the section that has its prefix as name.
    opened = ["claims", *(f"claims/{claim}/estimate" for claim in claims)]
    folded = [f"claims/{claim}/{end}" for claim in claims for end in ("low", "high")]
    return _state(columns, [*opened, "checks", "time", "memory"], folded)


def _batches_state() -> dict[str, Any]:
    return _state([_column("metrics", f"runs/{state}") for state in _BATCH_STATES], ["runs"], [])


def _column(kind: str, name: str) -> str:
    return f"{kind}.`{name}`"


def _state(columns: list[str], opened: list[str], folded: list[str]) -> dict[str, Any]:
    sections = [
        {
            "uuid": name,
            "name": name,
            "display": name in opened,
            "isReordered": True,
            "deleted": False,
            "isGenerated": True,
            # The cell stands at the end of a chart's title, which three columns cut off.
            "columns": 2 if name.startswith("claims/") else 3,
            "cardHeight": 240,
        }
        for name in [*opened, *folded]
    ]
    return {
        "searchFilter": "",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": columns,
        "compareRunCharts": [],
        "compareRunSections": sections,
        "isAccordionReordered": True,
    }
