"""What a batch is to run: a YAML file that people write, validated before anything starts."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from stemma import catalog
from stemma.catalog import Paper, Scale, Value
from stemma.errors import ManifestError, ParameterError, RunError

MAX_RUNS = 100_000


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Model):
    """What one run may use.

    Attributes:
        timeout: deadline of the whole notebook, seconds; None: the paper's own.
        memory_mb: resident memory of all its processes, MiB; None: no limit.
        threads: CPU threads; None: the cores divided by the runs at a time.
    """

    timeout: float | None = Field(None, ge=1)
    memory_mb: int | None = Field(None, ge=64)
    threads: int | None = Field(None, ge=1)


class Selection(_Model):
    """Some papers at some scale, once for every combination of the grid's values.

    Attributes:
        papers: slugs, or ``all`` that are ready.
        tags: only papers with one of these tags.
        scale: the scale; several run one after another.
        parameters: values that differ from the scale's defaults. With several papers, each takes
            those that it has.
        grid: several values of a parameter; every combination is a run.
        seeds: several values of the parameter ``seed``, for the papers that have one.
        limits: what a run of this selection may use, in place of the manifest's.
    """

    papers: list[str] | Literal["all"] = "all"
    tags: list[str] | None = None
    scale: Scale | list[Scale] = "small"
    parameters: dict[str, Value] = {}
    grid: dict[str, Annotated[list[Value], Field(min_length=1)]] = {}
    seeds: Annotated[list[int], Field(min_length=1)] | None = None
    limits: Limits | None = None

    @model_validator(mode="after")
    def _names_are_used_once(self) -> Self:
        seed = {"seed"} if self.seeds else set()
        twice = (self.parameters.keys() & self.grid.keys()) | (
            seed & (self.parameters.keys() | self.grid.keys())
        )
        if twice:
            raise ValueError(f"`{min(twice)}` is set twice (parameters, grid, seeds)")
        return self


class Manifest(_Model):
    """A batch.

    Attributes:
        name: what the batch is called; the file's name if it is not given.
        jobs: how many runs at a time.
        retries: how often a run is tried again when the machine, not the notebook, failed.
        limits: what a run may use.
        executor: where runs are executed: ``kind`` and what that kind wants to know.
        runs: what to run.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[\w .-]{0,80}$")] = ""
    jobs: int = Field(1, ge=1)
    retries: int = Field(2, ge=0)
    limits: Limits = Limits()
    executor: dict[str, Any] = {"kind": "local"}
    runs: Annotated[list[Selection], Field(min_length=1)]


class Request(NamedTuple):
    """One run that is asked for; strings among ``overrides`` may come from a command line."""

    paper: Paper
    scale: Scale
    overrides: dict[str, object]
    limits: Limits


def read(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        ManifestError: the file is missing, is no YAML or does not fit; the message says where.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        manifest = Manifest.model_validate(raw)
    except OSError as error:
        raise ManifestError(f"cannot read {path}: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ManifestError(f"{path}:{line}: not YAML: {error.problem}") from None
    except ValidationError as error:
        found = error.errors(include_url=False)
        first = min(found, key=lambda e: e["type"] != "extra_forbidden")
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise ManifestError(f"{path}: {where}: {first['msg']}") from None
    return manifest if manifest.name else manifest.model_copy(update={"name": path.stem})


def expand(manifest: Manifest) -> list[Request]:
    """Return every run that a manifest asks for, in its order, each once.

    Raises:
        CatalogError: an unknown slug.
        ManifestError: nothing is selected, or far too much.
        ParameterError: a parameter that none of the selected papers has.
        RunError: a paper that is named but has no notebook yet.
    """
    found: dict[tuple[str, str, str], Request] = {}
    for selection in manifest.runs:
        papers = _selected(selection)
        _check_names(selection, papers)
        for request in _requests(selection, papers, manifest.limits):
            identity = (request.paper.slug, request.scale, repr(sorted(request.overrides.items())))
            found.setdefault(identity, request)
            if len(found) > MAX_RUNS:
                raise ManifestError(f"more than {MAX_RUNS} runs: make the grid smaller")
    return list(found.values())


def _selected(selection: Selection) -> list[Paper]:
    if selection.papers == "all":
        papers = [p for p in catalog.load_all() if p.status == "ready"]
    else:
        papers = [_ready(slug) for slug in dict.fromkeys(selection.papers)]
    if selection.tags is not None:
        papers = [p for p in papers if set(selection.tags) & set(p.tags)]
    if not papers:
        what = f" with tag {' or '.join(selection.tags)}" if selection.tags else ""
        raise ManifestError(f"no paper{what} is ready (see `stemma list --ready`)")
    return papers


def _ready(slug: str) -> Paper:
    paper = catalog.load(slug)
    if paper.status != "ready":
        raise RunError(
            f"{slug} is planned: it has no notebook yet (`stemma list --ready` shows what runs)"
        )
    return paper


def _check_names(selection: Selection, papers: list[Paper]) -> None:
    names = [*selection.parameters, *selection.grid, *(["seed"] if selection.seeds else [])]
    for name in names:
        if not any(name == parameter.name for paper in papers for parameter in paper.parameters):
            if len(papers) == 1:
                papers[0].resolve("small", {name: ""})  # raises with a hint
            slugs = ", ".join(paper.slug for paper in papers)
            raise ParameterError(f"none of {slugs} has a parameter `{name}` (see `stemma show`)")


def _requests(selection: Selection, papers: list[Paper], limits: Limits) -> Iterator[Request]:
    scales = selection.scale if isinstance(selection.scale, list) else [selection.scale]
    axes = {name: list(values) for name, values in selection.grid.items()}
    if selection.seeds:
        axes["seed"] = list(selection.seeds)
    for scale, paper in itertools.product(scales, papers):
        known = {p.name for p in paper.parameters}
        own = {name: values for name, values in axes.items() if name in known}
        fixed = {name: value for name, value in selection.parameters.items() if name in known}
        for point in itertools.product(*own.values()):
            overrides: dict[str, object] = {**fixed, **dict(zip(own, point, strict=True))}
            yield Request(paper, scale, overrides, selection.limits or limits)
