"""What a run was, as JSON-LD entities of an RO-Crate: pure functions of its records."""

import mimetypes
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from stemma import data
from stemma.batch.records import RunState, State
from stemma.catalog import Paper, Parameter, ParameterType
from stemma.data.files import url
from stemma.report.crate.sources import Execution
from stemma.tables import claim_rows

Entity = dict[str, Any]

LICENCE: Entity = {
    "@id": "https://spdx.org/licenses/Apache-2.0",
    "@type": "CreativeWork",
    "name": "Apache License 2.0",
    "url": "https://www.apache.org/licenses/LICENSE-2.0",
}
JUPYTER: Entity = {
    "@id": "#jupyter-notebook",
    "@type": "ComputerLanguage",
    "name": "Jupyter Notebook",
    "alternateName": "nbformat 4, Python 3",
    "url": "https://jupyter.org/",
    "identifier": "https://nbformat.readthedocs.io/",
}
BATCH_PLAN: Entity = {
    "@id": "#stemma-batch",
    "@type": "ComputerLanguage",
    "name": "Stemma batch plan",
    "description": "JSON; `runs` lists the paper, scale and key of every run",
    "version": "1",
}

_PROFILES = {"process": "Process", "workflow": "Workflow", "provenance": "Provenance"}
_PROFILE_VERSION = "0.5"
WORKFLOW_CRATE: Entity = {
    "@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
    "@type": "CreativeWork",
    "name": "Workflow RO-Crate",
    "version": "1.0",
}

# What the fingerprint of a run names that PyPI has; the rest are facts of the machine.
_PACKAGES = ("mlflow", "numpy", "papermill", "scipy", "torch", "transformers")
_GIT = ("git_commit", "git_dirty")

_TYPES: Mapping[ParameterType, str] = {
    "bool": "Boolean",
    "int": "Integer",
    "float": "Float",
    "str": "Text",
    "list[int]": "Integer",
    "list[float]": "Float",
    "list[str]": "Text",
}

# Python's own table: the machine's would make crates differ between machines.
_MEDIA = mimetypes.MimeTypes()
_MEDIA.add_type("application/x-ipynb+json", ".ipynb")
_MEDIA.add_type("application/jsonl", ".jsonl")
_MEDIA.add_type("application/yaml", ".yaml")
_MEDIA.add_type("text/markdown", ".md")


def reference(entity: Entity) -> Entity:
    """Return a reference to an entity."""
    return {"@id": entity["@id"]}


def media_type(name: str) -> str:
    """Return the media type that a file's name tells."""
    return _MEDIA.guess_type(name)[0] or "application/octet-stream"


def timestamp(seconds: float) -> str:
    """Return a time in ISO 8601, UTC, milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def times(started: float | None, ended: float | None) -> Entity:
    """Return when an action began and ended, as far as known."""
    both = {"startTime": started, "endTime": ended}
    return {name: timestamp(seconds) for name, seconds in both.items() if seconds is not None}


def profiles(*names: str) -> list[Entity]:
    """Return the profiles of the Workflow Run Crate family, and the Workflow RO-Crate's."""
    own = [
        {
            "@id": f"https://w3id.org/ro/wfrun/{name}/{_PROFILE_VERSION}",
            "@type": "CreativeWork",
            "name": f"{_PROFILES[name]} Run Crate",
            "version": _PROFILE_VERSION,
        }
        for name in names
    ]
    return [*own, WORKFLOW_CRATE]


def article(paper: Paper) -> Entity:
    """Return the paper that a notebook reproduces."""
    return {
        "@id": f"https://arxiv.org/abs/{paper.arxiv}",
        "@type": "ScholarlyArticle",
        "name": paper.title,
        "abstract": paper.summary,
        "identifier": f"arXiv:{paper.arxiv}",
        "datePublished": str(paper.year),
        "keywords": ", ".join(paper.tags),
    }


def formal_parameters(paper: Paper) -> list[Entity]:
    """Return the slots of a paper's notebook; defaults are those that the notebook itself has."""
    scale = {
        "@id": _slot(paper, "scale"),
        "@type": "FormalParameter",
        "name": "scale",
        "description": "smoke, small, gpu or paper",
        "additionalType": "Text",
        "defaultValue": "small",
    }
    return [scale, *(_formal_parameter(paper, parameter) for parameter in paper.parameters)]


def _formal_parameter(paper: Paper, parameter: Parameter) -> Entity:
    entity: Entity = {
        "@id": _slot(paper, parameter.name),
        "@type": "FormalParameter",
        "name": parameter.name,
        "description": parameter.help,
        "additionalType": _TYPES[parameter.type],
        "defaultValue": parameter.default_at("small"),
        "multipleValues": parameter.type.startswith("list"),
        "unitText": parameter.unit,
        "minValue": parameter.minimum,
        "maxValue": parameter.maximum,
    }
    return _stated(entity)


def parameter_values(execution: Execution) -> list[Entity]:
    """Return the parameters of one run."""
    if execution.facts is None:
        return []
    slots = {"scale", *(p.name for p in execution.paper.parameters)}
    values: list[Entity] = []
    for name, value in {"scale": execution.scale, **execution.facts.parameters}.items():
        entity = _property(execution, f"parameter-{name}", name, value)
        if name in slots:
            entity["exampleOfWork"] = {"@id": _slot(execution.paper, name)}
        values.append(entity)
    return values


def data_sources(execution: Execution) -> list[Entity]:
    """Return the data that a run read: what and where they are, never the data themselves."""
    if execution.facts is None:
        return []
    roles: dict[str, list[str]] = {}
    for role, name in execution.facts.sources.items():
        roles.setdefault(name, []).append(role)
    return [
        _data_source(name, ", ".join(used), execution.facts.digests.get(name))
        for name, used in roles.items()
    ]


def _data_source(name: str, roles: str, digest: str | None) -> Entity:
    entity: Entity = {
        "@id": f"#data-{quote(name)}-{(digest or '')[:12]}",
        "@type": "CreativeWork",
        "name": name,
        "sha256": digest,
    }
    known = data.sources().get(name)
    if known is None:
        return _stated({**entity, "description": f"read as {roles}"})
    entity |= {"description": f"{known.description}; read as {roles}", "license": known.licence}
    if known.source is None:
        entity["identifier"] = f"package:{known.package}"
    else:
        entity |= {"identifier": known.source, "contentSize": str(known.bytes)}
        if (address := url(known)) is not None:
            entity["url"] = address
    return _stated(entity)


def modules(execution: Execution) -> list[Entity]:
    """Return the project's modules that a run's notebook reaches, by their digests."""
    ingredients = execution.spec.ingredients if execution.spec else {}
    return [
        {
            "@id": f"#{quote(name)}-{digest[:12]}",
            "@type": "CreativeWork",
            "name": name,
            "encodingFormat": "text/x-python",
            "sha256": digest,
        }
        for name, digest in sorted(ingredients.items())
        if name.endswith(".py")
    ]


def software(execution: Execution) -> list[Entity]:
    """Return the packages that a run used, with the versions that were installed then."""
    facts = execution.fingerprint
    return [_package(name, facts[name]) for name in _PACKAGES if name in facts]


def _package(name: str, version: str) -> Entity:
    # A local version such as 2.13.0+cpu has no page of its own.
    page = f"https://pypi.org/project/{name}/{quote(version.partition('+')[0])}/"
    return {
        "@id": page,
        "@type": "SoftwareApplication",
        "name": name,
        "url": page,
        "softwareVersion": version,
    }


def stemma(execution: Execution) -> Entity:
    """Return the software that ran the notebook: this project at the run's commit."""
    facts = execution.fingerprint
    commit = facts.get("git_commit", "")
    dirty = facts.get("git_dirty") == "true"
    description = "Reproduces machine-learning papers, one notebook each, with papermill"
    if dirty:
        description += "; tracked files differed from the commit"
    entity = {
        "@id": "#stemma" + (f"-{quote(commit[:12])}" if commit else "") + "-dirty" * dirty,
        "@type": "SoftwareApplication",
        "name": "Stemma",
        "description": description,
        "license": reference(LICENCE),
        "softwareVersion": commit or None,
    }
    return _stated(entity)


def machine(execution: Execution) -> list[Entity]:
    """Return what is known of the machine: device, system, interpreter."""
    if execution.facts is None:
        return []
    facts = {"device": execution.facts.device, **execution.facts.fingerprint}
    return [
        _property(execution, f"machine-{name}", name, value)
        for name, value in facts.items()
        if name not in (*_PACKAGES, *_GIT)
    ]


def verdicts(execution: Execution) -> Iterator[Entity]:
    """Yield the verdict on each claim, judged by the paper's present rules."""
    claims = execution.result.claims if execution.result else []
    for row in claim_rows(execution.paper, claims):
        entity = _property(execution, f"claim-{row.claim}", f"claim {row.claim}", row.verdict.value)
        entity["description"] = (
            f"{row.statement} Paper: {row.paper}. Measured: {row.measured}. {row.reason}"
        )
        yield entity


def status(state: RunState) -> Entity:
    """Return how an action ended, and the error if it failed."""
    if state.state is State.SUCCEEDED:
        return {"actionStatus": "http://schema.org/CompletedActionStatus"}
    words = [state.state.value, state.failure.value if state.failure else "", state.message]
    return {
        "actionStatus": "http://schema.org/FailedActionStatus",
        "error": ": ".join(word for word in words if word),
    }


def _slot(paper: Paper, name: str) -> str:
    return f"#slot-{paper.slug}-{name}"


def _property(execution: Execution, suffix: str, name: str, value: object) -> Entity:
    return {
        "@id": f"#{execution.name}-{quote(suffix)}",
        "@type": "PropertyValue",
        "name": name,
        "value": value,
    }


def _stated(entity: Entity) -> Entity:
    """Leave out what is not known."""
    return {name: value for name, value in entity.items() if value is not None}
