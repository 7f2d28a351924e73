"""The key of a run: what moves it, what does not, and how a miss is explained."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stemma.batch import key

READY = ("dpp-least-squares", "palimpsest", "predictive-multiplicity")

SCRIPT = """
import json, sys
from stemma import paths
from stemma.batch import key
print(json.dumps({
    slug: key.ingredients(paths.notebook(slug), {}, {}, "cpu", 1)
    for slug in sys.argv[1:]
}))
"""


def ingredients_of_papers(checkout: Path) -> dict[str, dict[str, str]]:
    """Ask a fresh process, which imports the changed copy (from its working folder)."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *READY],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found


def test_key_is_the_sha256_of_canonical_json() -> None:
    import hashlib

    expected = hashlib.sha256(b'{"a":"1","b":"2"}').hexdigest()
    assert key.key({"b": "2", "a": "1"}) == expected


def test_a_changed_method_module_moves_only_its_paper(checkout: Path) -> None:
    before = ingredients_of_papers(checkout)
    module = next(
        p
        for p in sorted((checkout / "stemma/papers/dpp_least_squares").glob("*.py"))
        if p.name != "__init__.py"
    )
    module.write_text(module.read_text() + "\nCHANGED = 1\n")
    after = ingredients_of_papers(checkout)
    name = f"stemma/papers/dpp_least_squares/{module.name}"
    assert key.difference(before["dpp-least-squares"], after["dpp-least-squares"]) == [
        f"{name} changed"
    ]
    for slug in READY[1:]:
        assert before[slug] == after[slug]


def test_a_markdown_cell_moves_nothing_a_code_cell_does(checkout: Path) -> None:
    before = ingredients_of_papers(checkout)
    path = checkout / "notebooks" / "dpp-least-squares.ipynb"
    notebook = json.loads(path.read_text())
    next(c for c in notebook["cells"] if c["cell_type"] == "markdown")["source"] = "# Other words"
    path.write_text(json.dumps(notebook))
    assert ingredients_of_papers(checkout) == before
    notebook["cells"][-1 if notebook["cells"][-1]["cell_type"] == "code" else -2]["source"] = "1"
    path.write_text(json.dumps(notebook))
    after = ingredients_of_papers(checkout)
    assert key.difference(before[READY[0]], after[READY[0]]) == ["notebook changed"]


def test_imports_are_followed_through_the_project() -> None:
    names = dict(key.modules("from stemma.recorder import Run"))
    assert {"stemma/recorder.py", "stemma/claims/rules.py", "stemma/__init__.py"} <= names.keys()
    assert not any(name.startswith(("stemma/batch", "stemma/cli")) for name in names)


def test_magics_and_foreign_imports_are_ignored() -> None:
    assert dict(key.modules("%matplotlib inline\nimport numpy\n!ls")) == {}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ({"device": "cpu"}, {"device": "cuda"}, ["device changed from cpu to cuda"]),
        ({"a.py": "0" * 64}, {"a.py": "1" * 64}, ["a.py changed"]),
        ({"a.py": "0"}, {}, ["a.py is no longer used"]),
        ({}, {"a.py": "0"}, ["a.py is new"]),
        ({"a.py": "0"}, {"a.py": "0"}, []),
    ],
)
def test_a_miss_is_explained(old: dict[str, str], new: dict[str, str], words: list[str]) -> None:
    assert key.difference(old, new) == words
