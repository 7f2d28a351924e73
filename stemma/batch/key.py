"""The key of a run: a hash of everything that can move its result, so that it is a cache key.

Ingredients: the notebook's code cells, the source of every module of this project that they import
(followed through imports), the resolved parameters, the data's digests, ``constraints.txt``, the
device class and the paper's version. A miss is explained by the ingredients that differ.
"""

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from stemma import paths
from stemma.errors import RunError

if TYPE_CHECKING:
    import grimp

PACKAGES = ("stemma", "provenance")


def code_cells(notebook: Path) -> list[str]:
    """Return the sources of a notebook's code cells.

    Raises:
        RunError: the file is missing or not a notebook.
    """
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except FileNotFoundError:
        raise RunError(f"no notebook {notebook}: restore it from the repository") from None
    except (json.JSONDecodeError, KeyError):
        raise RunError(f"{notebook} is not a notebook: restore it from the repository") from None
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def ingredients(
    notebook: Path,
    parameters: Mapping[str, object],
    digests: Mapping[str, str],
    device: str,
    paper_version: int,
) -> dict[str, str]:
    """Return what the key is made of: name -> digest (or the value itself where it is short).

    Raises:
        RunError: the file is missing or not a notebook.
    """
    found = {
        **_sources(notebook, notebook.stat().st_mtime_ns if notebook.exists() else 0),
        "device": device,
        "paper version": str(paper_version),
    }
    found |= {f"parameter {name}": json.dumps(value) for name, value in parameters.items()}
    return found | {f"data {name}": digest for name, digest in digests.items()}


@cache
def _sources(notebook: Path, _changed: int) -> dict[str, str]:
    """Return the digests of a notebook's own code and of all that it imports.

    The runs of a grid share them, so they are computed once.
    """
    cells = code_cells(notebook)
    constraints = paths.home() / "constraints.txt"
    return {
        "notebook": notebook_digest(cells),
        "constraints.txt": _sha(constraints.read_text(encoding="utf-8")),
        **{name: _sha_of_file(path) for name, path in modules("\n".join(cells))},
    }


def notebook_digest(cells: list[str]) -> str:
    """Return the digest of a notebook's code cells."""
    return _sha("\n\0".join(cells))


def key(parts: Mapping[str, str]) -> str:
    """Return the sha256 of the canonical JSON of the ingredients, as 64 hex digits."""
    return _sha(json.dumps(dict(parts), sort_keys=True, separators=(",", ":")))


def difference(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Say in words which ingredients of two keys differ."""
    words = []
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            words.append(f"{name} is no longer used")
        elif name not in old:
            words.append(f"{name} is new")
        elif old[name] != new[name]:
            short = max(len(old[name]), len(new[name])) < 40
            words.append(f"{name} changed" + (f" from {old[name]} to {new[name]}" if short else ""))
    return words


def changed(parts: Mapping[str, str], notebook: Path) -> list[str]:
    """Return which sources are no longer what they were when the key was made.

    A run that waits for hours, or runs for hours, must not end under the key of other code.
    """
    root = Path(__file__).resolve().parents[2]
    now = {name: _sha_of(root / name) for name in parts if name.endswith(".py") and "/" in name} | {
        "notebook": notebook_digest(code_cells(notebook))
    }
    return sorted(name for name, digest in now.items() if digest != parts[name])


def _sha_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"


def modules(code: str) -> Iterator[tuple[str, Path]]:
    """Yield (path within the project, file) of every project module that ``code`` reaches."""
    graph = _graph()
    reached: set[str] = set()
    pending = {name for name in _imported(code) if name in graph.modules}
    while pending:
        name = pending.pop()
        reached.add(name)
        upstream = set(graph.find_upstream_modules(name)) | {name}
        # Importing a module runs its packages' __init__ too.
        packages = {p for m in upstream for p in _packages(m)}
        reached |= upstream
        pending |= packages - reached
    for name in sorted(reached):
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            path = Path(spec.origin)
            parts = name.split(".")
            tail = "/".join(parts) + ("/__init__.py" if path.name == "__init__.py" else ".py")
            yield tail, path


def _imported(code: str) -> set[str]:
    """Return the dotted names that ``code`` may import (``from a import b`` gives a and a.b)."""
    names: set[str] = set()
    lines = ("" if line.lstrip().startswith(("%", "!")) else line for line in code.splitlines())
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {package for name in names for package in [name, *_packages(name)]}


def _packages(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


@cache
def _graph() -> "grimp.ImportGraph":
    import grimp

    return grimp.build_graph(*PACKAGES, cache_dir=None)


@cache
def _sha_of_file(path: Path) -> str:
    return _sha_of(path)


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
