"""From the name of a source to a checked file: mirror, then cache, then network."""

import hashlib
import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import quote

import platformdirs

from stemma import paths
from stemma.data import stdlib
from stemma.data.registry import Source, find
from stemma.errors import DataCorrupt, DataUnavailable, RunError

RAW_FILES = "https://raw.githubusercontent.com"
TIMEOUT = 20.0
"""Seconds to wait for the network, to connect and between two chunks."""


def is_embedded(name: str) -> bool:
    """Tell whether a source comes with an installed package, so that it has no file.

    Raises:
        DataUnavailable: unknown source.
    """
    return find(name).package is not None


def fetch(name: str) -> Path:
    """Return the checked file of a source, downloading it into the cache if nothing has it.

    Raises:
        DataUnavailable: unknown or embedded source, or it can be had nowhere.
        DataCorrupt: the mirror's, the cache's or the downloaded file is not the registered one.
    """
    source = find(name)
    roots = [root for root in (mirror(), cache_folder()) if root is not None]
    for root in roots:
        path = root / source.path
        if path.is_file():
            _check(path, source)
            return path
    return _download(source)


def choose(any_of: Sequence[str]) -> str:
    """Return the first of the named sources that can be had; a file is fetched and checked.

    Raises:
        DataUnavailable: an unknown name, or none can be had.
        DataCorrupt: a file is there but is not the registered one (never passed over in silence).
    """
    failures = []
    for source in [find(name) for name in any_of]:
        try:
            if source.package is None:
                fetch(source.name)
            else:
                _package_version(source)
        except DataUnavailable as error:
            failures.append(str(error))
        else:
            return source.name
    raise DataUnavailable("; ".join([f"none of {', '.join(any_of)} can be had", *failures]))


def digest(name: str) -> str:
    """Return a digest of a source's content: 64 hex digits.

    Files: the registered sha256. The standard library: of the files' paths and bytes. Data in a
    package: of the source's name and the package's version.

    Raises:
        DataUnavailable: unknown source, or its package is not installed.
    """
    source = find(name)
    if source.sha256 is not None:
        return source.sha256
    if source.name == stdlib.NAME:
        return stdlib.digest()
    identity = f"{source.name} {source.package} {_package_version(source)}"
    return hashlib.sha256(identity.encode()).hexdigest()


def mirror() -> Path | None:
    """Return the mirror folder: ``STEMMA_DATA_MIRROR``, else ``shared/data`` beside the checkout.

    Raises:
        DataUnavailable: ``STEMMA_DATA_MIRROR`` names no folder.
    """
    named = os.environ.get("STEMMA_DATA_MIRROR")
    if named:
        if not Path(named).is_dir():
            raise DataUnavailable(f"STEMMA_DATA_MIRROR is {named}, which is not a folder")
        return Path(named).absolute()
    try:
        beside = paths.home().parent / "shared" / "data"
    except RunError:  # installed without a checkout
        return None
    return beside if beside.is_dir() else None


def cache_folder() -> Path:
    """Return where downloads are kept: ``STEMMA_CACHE``, else the user's cache."""
    named = os.environ.get("STEMMA_CACHE")
    return Path(named).absolute() if named else Path(platformdirs.user_cache_dir("stemma"))


def url(source: Source) -> str | None:
    """Return the address of a file source; None for a table that only a mirror holds."""
    if source.is_packed:
        return None
    return f"{RAW_FILES}/{quote(str(source.path.relative_to('github')))}"


def _check(path: Path, source: Source) -> None:
    with path.open("rb") as stream:
        actual = hashlib.file_digest(stream, "sha256").hexdigest()
    if actual != source.sha256:
        raise DataCorrupt(
            f"{path} is not the registered {source.name}: sha256 {actual}, expected"
            f" {source.sha256}; delete the file to have it"
            f" {f'downloaded again from {url(source)}' if url(source) else 'copied again'}"
        )


def _download(source: Source) -> Path:
    address, target = url(source), cache_folder() / source.path
    if address is None:
        raise DataUnavailable(
            f"data unavailable: {source.name} ({source.description}) is in no public place as one"
            f" file; set STEMMA_DATA_MIRROR to a folder that holds {source.path}"
        )
    # Brings requests, which a run from mirror or cache need not load.
    import pooch  # type: ignore[import-untyped]

    try:
        pooch.retrieve(
            address,
            known_hash=source.sha256,
            fname=target.name,
            path=target.parent,
            downloader=pooch.HTTPDownloader(timeout=TIMEOUT, progressbar=True),
        )
    except OSError as error:  # requests' errors are OSErrors
        raise DataUnavailable(
            f"data unavailable: {source.name} ({source.description}): {type(error).__name__} on"
            f" download; set STEMMA_DATA_MIRROR to a folder that holds {source.path},"
            f" or download {address} to {target}"
        ) from error
    except ValueError as error:
        raise DataCorrupt(
            f"{address} is not the registered {source.name} of sha256 {source.sha256}: {error}"
        ) from error
    return target


def _package_version(source: Source) -> str:
    if source.name == stdlib.NAME:
        return stdlib.version()
    try:
        return version(str(source.package))
    except PackageNotFoundError:
        raise DataUnavailable(
            f"data unavailable: {source.name} comes with {source.package}:"
            f" pip install {source.package}"
        ) from None
