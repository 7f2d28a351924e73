"""An RO-Crate in the making: every entity is added once, every file with its size and digest."""

import hashlib
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stemma.errors import RunError
from stemma.report.crate import entities
from stemma.report.crate.entities import Entity, reference

_TERMS = "https://w3id.org/ro/terms/workflow-run/context"


class Builder:
    """Collects the entities of a crate and writes it.

    Attributes:
        published: the crate's date, seconds since the epoch; nothing else depends on the clock.
    """

    def __init__(self, published: float) -> None:
        from rocrate.rocrate import ROCrate

        self.published = published
        self._cited: dict[str, Entity] = {}
        self._crate = ROCrate(version="1.1")
        self._crate.metadata.extra_contexts.append(_TERMS)
        self._root = self._crate.root_dataset
        self._root["datePublished"] = entities.timestamp(published)
        self._root["license"] = self.add(entities.LICENCE)

    def title(self, name: str, description: str, actions: Sequence[Entity], table: str) -> None:
        """Name the crate and the actions that it is about, and say so in its README."""
        self._root["name"], self._root["description"] = name, description
        self._root["mentions"] = _one_or_all(list(actions))
        readme = f"# {name}\n\n{description}\n\n{table}\n"
        about = {"about": {"@id": self._root.id}, "description": "The crate in words"}
        self.file("README.md", readme.encode(), about)

    def conforms_to(self, *profiles: str) -> None:
        """Declare the profiles of the Workflow Run Crate family that the crate follows."""
        self._root["conformsTo"] = self.add_all(entities.profiles(*profiles))

    def cite(self, article: Entity) -> Entity:
        """Add the paper that a part of the crate reproduces."""
        added = self.add(article)
        self._cited[added["@id"]] = added
        self._root["citation"] = _one_or_all(list(self._cited.values()))
        return added

    def add(self, entity: Entity) -> Entity:
        """Add an entity that is no file, unless it is there, and return a reference to it."""
        if self._crate.get(entity["@id"]) is None:
            self._crate.add_jsonld(_compact(entity))
        return reference(entity)

    def add_all(self, found: Iterable[Entity]) -> list[Entity]:
        """Add entities that are no files and return references to them."""
        return [self.add(entity) for entity in found]

    def file(self, name: str, content: Path | bytes, properties: Entity) -> Entity:
        """Add a file at ``name``, unless it is there, and return a reference to it.

        Raises:
            RunError: the name is no Unicode.
        """
        try:
            known = self._crate.get(quote(name))
        except UnicodeEncodeError:
            raise RunError(f"the file name {name!r} is no Unicode: rename or delete it") from None
        if known is None:
            source = BytesIO(content) if isinstance(content, bytes) else content
            facts = _compact({**_facts(name, content), **properties})
            known = self._crate.add_file(source, name, properties=facts)
        return {"@id": known.id}

    def main(self, workflow: Entity) -> None:
        """Make a file the main workflow, as the Workflow RO-Crate profile has it."""
        self._crate.mainEntity = self._crate.get(workflow["@id"])
        self._crate.metadata["conformsTo"] = [
            {"@id": self._crate.metadata.profile},
            reference(entities.WORKFLOW_CRATE),
        ]

    def write(self, folder: Path) -> None:
        """Write everything into ``folder``."""
        self._crate.write(folder)


def _facts(name: str, content: Path | bytes) -> Entity:
    if isinstance(content, bytes):
        size, digest = len(content), hashlib.sha256(content).hexdigest()
    else:
        size = content.stat().st_size
        with content.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {
        "name": Path(name).name,
        "contentSize": str(size),
        "sha256": digest,
        "encodingFormat": entities.media_type(name),
    }


def _compact(entity: Entity) -> Entity:
    """Leave out empty lists and unwrap single references, as RO-Crate recommends."""
    return {
        name: _one_or_all(value) if isinstance(value, list) else value
        for name, value in entity.items()
        if value != [] or name == "value"
    }


def _one_or_all(values: list[Any]) -> Any:
    single = len(values) == 1 and isinstance(values[0], dict)
    return values[0] if single else values
