"""What an attempt leaves, as one archive that travels between machines without a shared disk.

The archive counts only once its size and digest are right, and it is put in place file by file,
``result.json`` last: a folder never shows a result whose other files are not there.
"""

import hashlib
import os
import posixpath
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from stemma import paths
from stemma.errors import ExecutorError

CHUNK = 2**23
"""How much of an archive travels at a time, bytes."""

STAYS = frozenset(
    {".lock", "attempts", "handle.json", paths.MLFLOW_IDS, "spec.json", "state.json"}
    | {"events.jsonl", "log.txt"}
)
"""Names of a run's folder that no archive may hold: the runner's own files, and those that are sent
line by line while the worker lives."""

_STAGING = ".incoming"


class Parcel(NamedTuple):
    """An archive as its sender made it."""

    size: int
    sha256: str


def left_by_worker(folder: Path) -> list[str]:
    """Return the names in a run's folder that its worker wrote."""
    return sorted(path.name for path in folder.iterdir() if path.name not in STAYS)


def pack(folder: Path, names: Iterable[str], archive: Path) -> Parcel:
    """Write the files of ``names`` in ``folder``, and of all folders in them, to ``archive``.

    Links, sockets and the like are left out: they mean nothing on another machine.
    """
    with tarfile.open(archive, "w") as tar:
        for name in names:
            tar.add(folder / name, name, filter=_plain)
    return describe(archive)


def describe(archive: Path) -> Parcel:
    """Return size and digest of an archive."""
    with archive.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Parcel(archive.stat().st_size, digest)


def chunk(archive: Path, offset: int) -> bytes:
    """Return the next bytes of an archive."""
    with archive.open("rb") as stream:
        stream.seek(offset)
        return stream.read(CHUNK)


def put(archive: Path, offset: int, piece: bytes) -> None:
    """Write a piece of an archive that comes in; one that comes again changes nothing."""
    with archive.open("r+b" if offset else "wb") as stream:
        stream.seek(offset)
        stream.write(piece)


def unpack(archive: Path, parcel: Parcel, folder: Path) -> None:
    """Put the files of an archive in place.

    Raises:
        ExecutorError: it is not what was sent, or holds what no worker may write.
        OSError: the disk is full; the folder may have some of the files, but not ``result.json``.
    """
    if describe(archive) != parcel:
        raise ExecutorError("what the worker left arrived damaged")
    staging = folder / _STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        _extract(archive, staging)
        _move_in(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return member if member.isfile() or member.isdir() else None


def _extract(archive: Path, staging: Path) -> None:
    with tarfile.open(archive) as tar:
        try:
            for member in _admitted(tar):
                _write(tar, member, staging / posixpath.normpath(member.name))
        except tarfile.TarError as error:
            raise ExecutorError(f"what the worker left is refused: {error}") from None


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    # `extractall(filter="data")` would do, but Python has it since 3.11.4 and Debian 12 has 3.11.2.
    stream = tar.extractfile(member)
    (path.parent if stream else path).mkdir(parents=True, exist_ok=True)
    if stream:
        with stream, path.open("wb") as file:
            shutil.copyfileobj(stream, file)


def _admitted(members: Iterable[tarfile.TarInfo]) -> Iterator[tarfile.TarInfo]:
    for member in members:
        path = PurePosixPath(posixpath.normpath(member.name))
        refused = path.is_absolute() or not path.parts or path.parts[0] in {"..", *STAYS}
        if _plain(member) is None or refused:
            raise ExecutorError(f"what the worker left is refused: it may not hold {member.name}")
        yield member


def _move_in(staging: Path, folder: Path) -> None:
    arrived = {path.name for path in staging.iterdir()}
    if paths.CHECKPOINT not in arrived:  # the worker is past it
        shutil.rmtree(folder / paths.CHECKPOINT, ignore_errors=True)
    for name in sorted(arrived, key=lambda n: n == "result.json"):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        os.replace(staging / name, folder / name)
