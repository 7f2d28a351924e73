"""What a notebook uses to record its run: evidence, checks, figures, tables, metrics, progress.

A notebook records *evidence*, never a verdict. Under the batch worker (``STEMMA_RUN_DIR`` is set)
everything lands in the run's folder, from where the worker and MLflow pick it up; in an
interactive kernel it is shown in the notebook and kept in a temporary folder.
"""

import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from stemma import catalog, data, files, paths
from stemma.claims import ClaimResult, Samples, check_samples
from stemma.errors import EvidenceError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

T = TypeVar("T")

RUN_DIR = "STEMMA_RUN_DIR"
_PROGRESS_SECONDS = 0.5


class CheckFailed(AssertionError):
    """A check of the notebook ("how it could be faked") failed: the run does not count."""


class Run:
    """One execution of a paper's notebook.

    Attributes:
        paper: the paper, as the catalog has it.
        scale: smoke, small, gpu or paper.
        parameters: the validated parameters.
        folder: where the run's files go.
    """

    def __init__(self, slug: str, *, scale: catalog.Scale, **parameters: object) -> None:
        """Open a run; notebooks call this right after their parameters cell.

        Raises:
            CatalogError: unknown slug.
            ParameterError: a parameter that ``paper.yaml`` does not allow.
        """
        self.paper = catalog.load(slug)
        self.scale = scale
        self.parameters = self.paper.resolve(scale, _plain(parameters))
        batch = os.environ.get(RUN_DIR)
        self._interactive = batch is None
        self.folder = Path(batch or tempfile.mkdtemp(prefix=f"stemma-{slug}-"))
        self._sources = _chosen_sources(self.folder / "spec.json")
        self._evidence: dict[str, dict[str, Any]] = {}

    def data(self, role: str) -> str:
        """Return the name of the data source chosen for ``role`` (declared in ``paper.yaml``).

        Raises:
            DataUnavailable: none of the role's sources can be had.
        """
        if role not in self._sources:
            need = next(n for n in self.paper.data_at(self.scale) if n.role == role)
            self._sources[role] = data.choose(need.any_of)
        return self._sources[role]

    def measure(self, claim_id: str, cell: str = "", **samples: "ArrayLike") -> None:
        """Record the evidence of one cell of a claim, e.g. ``ours=[...per seed...]``.

        Args:
            claim_id: the claim's id in ``paper.yaml``.
            cell: names one of several settings that the claim must hold in.
            samples: the samples that the claim's rule reads, by name.

        Raises:
            EvidenceError: unknown claim, a cell measured twice, or samples that do not fit.
        """
        try:
            claim = self.paper.claim(claim_id)
        except KeyError:
            raise EvidenceError(f"{self.paper.slug} has no claim {claim_id}") from None
        values: Samples = {name: np.asarray(v).tolist() for name, v in samples.items()}
        if claim.rule is not None:
            check_samples(claim.rule, values)
        cells = self._evidence.setdefault(claim_id, {})
        if cell in cells:
            raise EvidenceError(f"cell `{cell}` of {claim_id} was measured before")
        cells[cell] = values
        files.write_json(self.folder / "evidence.json", self._evidence)
        self._event("measure", claim=claim_id, cell=cell)

    def check(self, name: str, passed: bool | np.bool_, detail: str = "") -> None:
        """Record a check against faking and stop the notebook if it failed.

        Raises:
            CheckFailed: if ``passed`` is false.
        """
        self._event("check", name=name, passed=bool(passed), detail=detail)
        if not passed:
            raise CheckFailed(f"{name}: {detail}" if detail else name)

    def figure(self, figure: "Figure", name: str, caption: str) -> None:
        """Save a matplotlib figure as ``figures/<name>.png`` and show it in the notebook."""
        path = self._file("figures", name, "png")
        figure.savefig(path, dpi=120, bbox_inches="tight", metadata={"Software": None})
        self._event("figure", name=name, file=f"figures/{path.name}", caption=caption)
        _close(figure)
        from IPython.display import Image, display

        display(Image(filename=str(path), alt=caption))  # type: ignore[no-untyped-call]

    def table(self, table: "pd.DataFrame", name: str, caption: str) -> None:
        """Save a data frame as ``tables/<name>.csv`` and show it in the notebook."""
        path = self._file("tables", name, "csv")
        table.to_csv(path, index=False)
        self._event("table", name=name, file=f"tables/{path.name}", caption=caption)
        from IPython.display import display

        display(table)  # type: ignore[no-untyped-call]

    def artifact(self, name: str, content: bytes) -> Path:
        """Keep ``content`` as ``artifacts/<name>`` of the run and return its path."""
        folder = self.folder / "artifacts"
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_bytes(content)
        self._event("artifact", name=name, file=f"artifacts/{name}")
        return path

    def checkpoint(self) -> Path:
        """Return a folder that outlives this attempt of the run.

        A notebook that may exceed its time saves its state there, and goes on from what it finds
        there: a run that timed out is tried again only if the folder holds something.
        """
        folder = self.folder / paths.CHECKPOINT
        folder.mkdir(exist_ok=True)
        return folder

    def log(self, name: str, value: float, step: int = 0) -> None:
        """Record one point of a metric."""
        self._event("metric", name=name, value=float(value), step=int(step))

    def model(
        self, name: str, digest: str, parent: str | None = None, **facts: str | int | float
    ) -> None:
        """Record a trained model: the digest of its weights, its parent's name, other facts."""
        self._event("model", name=name, digest=digest, parent=parent, facts=facts)

    def progress(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Iterate over ``items``, showing how far the loop is (in the notebook and the batch)."""
        size = total if total is not None else _length(items)
        if self._interactive:
            from tqdm.auto import tqdm

            yield from tqdm(items, desc=label, total=size)
            return
        last = 0.0
        done = 0
        for done, item in enumerate(items, start=1):
            yield item
            now = time.monotonic()
            if now - last >= _PROGRESS_SECONDS:
                last = now
                self._event("progress", label=label, done=done, total=size)
        self._event("progress", label=label, done=done, total=size)

    def verdicts(self) -> Sequence[ClaimResult]:
        """Show the table of claims (paper's value, measured, verdict) and return the verdicts."""
        results = self.paper.judge(self.scale, self._evidence)
        from IPython.display import HTML, display

        from stemma.tables import claims_html

        display(HTML(claims_html(self.paper, results)))  # type: ignore[no-untyped-call]
        return results

    def _event(self, kind: str, **fields: Any) -> None:
        files.append_event(self.folder / "events.jsonl", kind, fields)

    def _file(self, folder: str, name: str, suffix: str) -> Path:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
            raise ValueError(f"`{name}`: use lower-case letters, digits, - and _ in names")
        path = self.folder / folder / f"{name}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        return path


def _chosen_sources(spec: Path) -> dict[str, str]:
    import json

    if not spec.exists():
        return {}
    return dict(json.loads(spec.read_text(encoding="utf-8"))["sources"])


def _plain(parameters: dict[str, object]) -> dict[str, object]:
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in parameters.items()}


def _length(items: Iterable[object]) -> int | None:
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None


def _close(figure: "Figure") -> None:
    import matplotlib.pyplot as plt

    plt.close(figure)
