"""Writes a crate as a zip file or a folder, whole or not at all."""

import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from stemma.catalog import Scale
from stemma.errors import RunError
from stemma.report.crate import sources
from stemma.report.crate.batch import batch_crate
from stemma.report.crate.run import run_crate

METADATA = "ro-crate-metadata.json"
_FIRST_ZIP_YEAR = 1980


class Exported(NamedTuple):
    """What was written."""

    path: Path
    runs: int
    files: int


def export(target: str, scale: Scale, out: Path | None = None, *, force: bool = False) -> Exported:
    """Write a paper's latest run, a run's folder or a batch as an RO-Crate.

    Args:
        target: slug, run folder or batch id.
        scale: which of a paper's runs; folders and batches know theirs.
        out: a ``.zip`` file, or a folder; by default a zip file here, named after the run.
        force: replace the zip file, or the crate's folder, if it is there.

    Raises:
        RunError: there is no such run, it is not over, or ``out`` cannot be written.
        CatalogError: a run of a paper that the catalog no longer has.
    """
    executions, batch = sources.find(target, scale)
    path = out or Path(f"{batch.id if batch else executions[0].name}.crate.zip")
    _check_out(path, force)
    crate = batch_crate(batch, executions) if batch else run_crate(executions[0])
    with _beside(path) as folder:
        crate.write(folder)
        files = sum(1 for p in folder.rglob("*") if p.is_file())
        if path.suffix == ".zip":
            _zip(folder, path, crate.published)
        else:
            _move(folder, path)
    return Exported(path, len(executions), files)


def _check_out(path: Path, force: bool) -> None:
    if not path.absolute().parent.is_dir():
        raise RunError(f"no folder {path.absolute().parent} to write {path.name} into: make it")
    if not os.path.lexists(path):
        return
    if not force:
        raise RunError(f"{path} is there already: --force replaces it, --out names another")
    is_crate = (path / METADATA).is_file() if path.suffix != ".zip" else path.is_file()
    if not is_crate:
        raise RunError(f"{path} is no crate, so it is not replaced: --out names another")


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Give a folder beside ``path`` to write into, so that ``path`` is never half there."""
    folder = path.absolute().with_name(f".{path.name}.{os.getpid()}")
    try:
        folder.mkdir()
        yield folder
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
    os.replace(folder, path)


def _zip(folder: Path, path: Path, published: float) -> None:
    """Pack a folder; names in order and one time for all make the bytes repeatable."""
    moment = datetime.fromtimestamp(published, UTC)
    stamp = (max(moment.year, _FIRST_ZIP_YEAR), *moment.timetuple()[1:6])
    temporary = folder / f"{METADATA}.zip"
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    with zipfile.ZipFile(temporary, "w") as archive:
        for name in names:
            info = zipfile.ZipInfo(name, stamp)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            with (folder / name).open("rb") as source, archive.open(info, "w") as target:
                shutil.copyfileobj(source, target)
    os.replace(temporary, path)
