"""The registry of data sources: ``registry.yaml``, validated."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, model_validator

from stemma.errors import DataUnavailable

_GITHUB = re.compile(r"github:([\w.-]+)/([\w.-]+)@([0-9a-f]{40})/(.+)")
_HUB = re.compile(r"hub:([\w.-]+)/([\w.-]+)")
_SOURCE = rf"^({_GITHUB.pattern}|{_HUB.pattern})$"
_LIST = TypeAdapter(dict[str, dict[str, object]])

Text = Annotated[str, StringConstraints(min_length=1)]


class Source(BaseModel):
    """A data source.

    Attributes:
        name: its name in the registry.
        description: one line.
        licence: as upstream states it.
        source: ``github:OWNER/NAME@COMMIT/PATH`` of a file; ``hub:NAME/SPLIT`` of a table that
            only a mirror holds, packed from many small files; None for embedded data.
        bytes: size of the file.
        sha256: digest of the file, 64 hex digits.
        package: the distribution that embeds the data (``python``: the interpreter itself).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Text
    description: Text
    licence: Text
    source: Annotated[str, StringConstraints(pattern=_SOURCE)] | None = None
    bytes: Annotated[int, Field(gt=0)] | None = None
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    package: Text | None = None

    @model_validator(mode="after")
    def _file_or_embedded(self) -> Self:
        file = (self.source, self.bytes, self.sha256)
        whole = None not in file and self.package is None
        if not whole and (any(part is not None for part in file) or self.package is None):
            raise ValueError("give either source, bytes and sha256, or package alone")
        return self

    @property
    def is_packed(self) -> bool:
        """Whether the source is a table that only a mirror holds."""
        return _HUB.fullmatch(self.source or "") is not None

    @property
    def path(self) -> PurePosixPath:
        """Where a file source lies below a mirror or the cache.

        ``github/OWNER/NAME/COMMIT/PATH``, or ``hub/NAME/SPLIT.parquet``.

        Raises:
            DataUnavailable: the source is embedded and has no file.
        """
        if packed := _HUB.fullmatch(self.source or ""):
            return PurePosixPath("hub", packed[1], f"{packed[2]}.parquet")
        match = _GITHUB.fullmatch(self.source or "")
        if match is None:
            raise DataUnavailable(
                f"{self.name} has no file: its data comes with the package {self.package}"
            )
        return PurePosixPath("github", *match.groups())


def parse(text: str) -> dict[str, Source]:
    """Return the sources of a registry in YAML, by name."""
    entries = _LIST.validate_python(yaml.safe_load(text))
    return {name: Source.model_validate({"name": name, **entry}) for name, entry in entries.items()}


@cache
def sources() -> Mapping[str, Source]:
    """Return every known source, by name."""
    return parse(Path(__file__).with_name("registry.yaml").read_text(encoding="utf-8"))


def find(name: str) -> Source:
    """Return the source called ``name``.

    Raises:
        DataUnavailable: no such source.
    """
    try:
        return sources()[name]
    except KeyError:
        known = ", ".join(sorted(sources()))
        raise DataUnavailable(f"unknown data source {name!r}; known: {known}") from None
