"""Which files a request may name: what lies below the runs, the notebooks or a root of models."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stemma import paths
from stemma.errors import StemmaError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_ADDRESS = re.compile(r"https?://[^\s/]\S*")


class BadPlace(StemmaError):
    """A path that must not be, or cannot be, used; says what to do."""


@dataclass(frozen=True)
class Places:
    """Where the paths of requests begin, and where they may lead.

    Attributes:
        root: the folder that Jupyter's file browser shows; paths are relative to it.
        allowed: folders that a path may lead into, links resolved.
    """

    root: Path
    allowed: tuple[Path, ...]

    @classmethod
    def of(cls, root: str, model_roots: Iterable[str]) -> "Places":
        """Return the places of a server.

        Args:
            root: its ``root_dir``.
            model_roots: folders of models besides the runs and the notebooks.
        """
        folders = [paths.runs(), paths.home() / "notebooks", *map(Path, model_roots)]
        return cls(Path(root).resolve(), tuple(folder.resolve() for folder in folders))

    def path(self, given: str) -> Path:
        """Return the file or folder that a path of the file browser names, links resolved.

        Raises:
            BadPlace: it is none, is not there, or leads to a folder that is not open to tests.
        """
        parts = PurePosixPath(given).parts
        if not parts or given.startswith("/") or ".." in parts or "\0" in given or "\\" in given:
            raise BadPlace(
                f"`{given}`: give a path as the file browser shows it, without a slash at its"
                " beginning and without `..`"
            )
        try:
            found = self.root.joinpath(*parts).resolve(strict=True)
        except (OSError, RuntimeError):  # a circle of links
            found = None
        # One answer for both, so that nobody can ask what lies elsewhere.
        if found is None or not any(found.is_relative_to(folder) for folder in self.allowed):
            raise BadPlace(
                f"`{given}`: nothing is there, or it lies outside of the runs, the notebooks and"
                " the folders named by `StemmaLab.model_roots`; move or link it there"
            )
        return found

    def model(self, given: str) -> str:
        """Return what names a model: an address, a path that leads to it, or a hub id.

        A path comes before a hub id of the same name.

        Raises:
            BadPlace: it is none of the three.
        """
        if _ADDRESS.fullmatch(given):
            return given
        is_there = "\0" not in given and os.path.lexists(self.root / given)
        if _HUB_ID.fullmatch(given) and not is_there:
            return given
        return str(self.path(given))

    def shown(self, path: Path) -> str | None:
        """Return the path by which the file browser knows a file; None if it does not."""
        try:
            return path.resolve().relative_to(self.root).as_posix()
        except ValueError:
            return None
