"""Notebooks that the lab opens: where its file browser finds them, and drafts."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from stemma import files, paths
from stemma.catalog import Paper, Value
from stemma_lab.base import Refused
from stemma_lab.schemas import RunBody


def contents_path(path: Path, root: Path) -> str | None:
    """Return where the file browser of a server finds a file; None if it is outside its root."""
    for file, folder in ((path.absolute(), root.absolute()), (path.resolve(), root.resolve())):
        if file.is_relative_to(folder):
            return file.relative_to(folder).as_posix()
    return None


def draft(paper: Paper, body: RunBody, root: Path) -> str:
    """Write a paper's notebook with parameters injected and return its path for the file browser.

    A draft of the same notebook and parameters that is there already is kept as it is.

    Raises:
        ParameterError: a parameter that does not fit.
        Refused: the paper has no notebook, or the file browser cannot reach the folder of drafts.
    """
    source = paths.notebook(paper.slug)
    if not source.is_file():
        raise Refused(409, f"{paper.slug} has no notebook yet")
    values = {"scale": body.scale, **paper.resolve(body.scale, body.parameters)}
    text = source.read_text(encoding="utf-8")
    digest = hashlib.sha256(f"{json.dumps(values, sort_keys=True)}\n{text}".encode()).hexdigest()
    target = paths.runs() / "drafts" / f"{paper.slug}-{digest[:12]}.ipynb"
    found = contents_path(target, root)
    if found is None:
        raise Refused(
            409,
            f"{target.parent} is outside the folder that this JupyterLab shows:"
            " start JupyterLab in the checkout (`make lab`)",
        )
    if not target.exists():
        _write(target, source, values)
    return found


def _write(target: Path, source: Path, values: Mapping[str, Value]) -> None:
    # Papermill takes a second to import, and not every session makes drafts.
    import nbformat
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    notebook = parameterize_notebook(
        load_notebook_node(str(source)), values, kernel_name="python3", language="python"
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(target, nbformat.writes(notebook))  # type: ignore[no-untyped-call]
