"""The standard library's own source text, as data that every Python has."""

import hashlib
import platform
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

NAME = "python-stdlib"

# Left out: what distributions strip, patch or generate (so that the same Python has the same files
# everywhere), tables instead of text (encodings), and tests.
_SKIPPED_MODULES = {
    "distutils", "encodings", "ensurepip", "idlelib", "lib2to3", "site", "sysconfig",
    "tkinter", "turtle", "turtledemo", "venv",
}  # fmt: skip
_SKIPPED_FOLDERS = {"test", "tests", "idle_test", "__pycache__"}


def files() -> Iterator[tuple[str, bytes]]:
    """Yield (path within the library, content) of the modules used, sorted by module and path."""
    root = Path(sysconfig.get_path("stdlib"))
    for name in sorted(sys.stdlib_module_names - _SKIPPED_MODULES):
        for path in _sources(root, name):
            relative = path.relative_to(root)
            if _SKIPPED_FOLDERS.isdisjoint(relative.parts):
                yield relative.as_posix(), path.read_bytes()


def documents() -> list[str]:
    """Return the source text of each file, in the order of ``files``."""
    return [content.decode() for _, content in files()]


def digest() -> str:
    """Return the sha256 of all paths and contents used, 64 hex digits."""
    whole = hashlib.sha256()
    for path, content in files():
        whole.update(f"{path}\0{len(content)}\0".encode())
        whole.update(content)
    return whole.hexdigest()


def version() -> str:
    """Return the version of this Python."""
    return platform.python_version()


def _sources(root: Path, name: str) -> list[Path]:
    module = root / f"{name}.py"
    return [module] if module.is_file() else sorted((root / name).rglob("*.py"))
