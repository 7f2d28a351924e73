"""What is known of each paper: reads and validates ``papers/<slug>/paper.yaml``.

A paper's folder is its slug with underscores for hyphens, so that it can be imported.
"""

import difflib
import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from stemma import paths
from stemma.claims import ClaimResult, Evidence, Rule, Setting, Verdict, judge
from stemma.errors import CatalogError, ParameterError

Scale = Literal["smoke", "small", "gpu", "paper"]
SCALES: tuple[Scale, ...] = ("smoke", "small", "gpu", "paper")

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Value = bool | int | float | str | list[int] | list[float] | list[str]
ParameterType = Literal["bool", "int", "float", "str", "list[int]", "list[float]", "list[str]"]

_TYPES: dict[str, TypeAdapter[Any]] = {
    "bool": TypeAdapter(bool),
    "int": TypeAdapter(int),
    "float": TypeAdapter(float),
    "str": TypeAdapter(str),
    "list[int]": TypeAdapter(list[int]),
    "list[float]": TypeAdapter(list[float]),
    "list[str]": TypeAdapter(list[str]),
}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parameter(_Model):
    """A notebook's parameter: its type, default per scale, bounds and help.

    ``minimum`` and ``maximum`` (both inclusive) and ``choices`` apply to each item of a list.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    type: ParameterType
    default: Value | dict[Scale, Value]
    help: Text
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: list[bool | int | float | str] | None = None

    @model_validator(mode="after")
    def _defaults_fit(self) -> Self:
        for scale in SCALES:
            self.check(self.default_at(scale))
        return self

    def default_at(self, scale: Scale) -> Value:
        """Return the default at ``scale``; a scale that is not named takes that of ``small``."""
        if isinstance(self.default, dict):
            if "small" not in self.default:
                raise ValueError("a default per scale must at least name `small`")
            return self.default.get(scale, self.default["small"])
        return self.default

    def check(self, value: object) -> Value:
        """Return ``value`` in the parameter's type; raise ValueError saying what is allowed."""
        try:
            parsed: Value = _TYPES[self.type].validate_python(value, strict=True)
        except ValidationError:
            raise ValueError(f"must be {self.type}, got {value!r}") from None
        for item in parsed if isinstance(parsed, list) else [parsed]:
            self._check_item(item)
        return parsed

    def _check_item(self, item: bool | int | float | str) -> None:
        if self.choices is not None and item not in self.choices:
            raise ValueError(f"must be one of {', '.join(map(str, self.choices))}, got {item!r}")
        if isinstance(item, (int, float)):
            if self.minimum is not None and item < self.minimum:
                raise ValueError(f"must be at least {self.minimum:g}, got {item:g}")
            if self.maximum is not None and item > self.maximum:
                raise ValueError(f"must be at most {self.maximum:g}, got {item:g}")

    def parse(self, text: str) -> Value:
        """Parse ``text`` from a command line (lists as YAML, ``[1, 2]``, or ``1,2``)."""
        if self.type.startswith("list"):
            source = text if text.strip().startswith("[") else f"[{text}]"
            items = yaml.safe_load(source)
            if self.type == "list[float]":
                items = [float(i) if isinstance(i, int) else i for i in items]
            return self.check(items)
        try:
            value = _TYPES[self.type].validate_strings(text)
        except ValidationError:
            raise ValueError(f"must be {self.type}, got {text!r}") from None
        return self.check(value)


class Claim(_Model):
    """A claim of a paper, and how it is tested here.

    Attributes:
        scales: the scales at which it is honestly tested, each ``full`` (the paper's own setting)
            or ``reduced``.
        untested: for every other scale but smoke, why it cannot be tested there.
    """

    id: Annotated[str, StringConstraints(pattern=r"^C\d+[a-z]?$")]
    statement: Text
    paper_value: Text
    unit: str = ""
    where: Text
    sure: Literal["abstract", "code", "page", "figure", "memory"]
    statistic: Text
    rule: Rule | None = None
    scales: dict[Scale, Setting] = {}
    untested: dict[Scale, Text] = {}

    @model_validator(mode="after")
    def _every_scale_is_accounted_for(self) -> Self:
        for scale in SCALES:
            if (scale in self.scales) == (scale in self.untested) and scale != "smoke":
                raise ValueError(
                    f"claim {self.id}: scale {scale} must be either in `scales` or in `untested`"
                )
        if "smoke" in self.scales:
            raise ValueError(
                f"claim {self.id}: smoke draws no conclusion; leave it out of `scales`"
            )
        if self.scales and self.rule is None:
            raise ValueError(f"claim {self.id} is tested but has no `rule`")
        return self

    def why_untested(self, scale: Scale) -> str:
        """Return why the claim is not tested at a scale that is not among its ``scales``."""
        return self.untested.get(scale, "smoke proves the machinery and draws no conclusion")


class DataNeed(_Model):
    """Data that a notebook reads: the first of ``any_of`` (names of the registry) that can be had.

    ``role`` is what the notebook asks for (``run.data("text")``); ``scales`` None means all.
    """

    role: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
    any_of: list[str] = Field(min_length=1)
    scales: list[Scale] | None = None


class Note(_Model):
    """A numbered deviation from the paper, or a defect of the authors' released code."""

    id: Annotated[str, StringConstraints(pattern=r"^[A-Z]\d+$")]
    text: Text


class Repository(_Model):
    """The authors' code, at the commit that was read."""

    repository: Text
    commit: str | None = None
    licence: str | None = None


class Paper(_Model):
    """Everything that is known of one paper; the schema of ``paper.yaml``."""

    slug: Slug
    number: int = Field(ge=1)
    title: Text
    arxiv: Annotated[str, StringConstraints(pattern=r"^\d{4}\.\d{4,5}$")]
    year: int = Field(ge=1990, le=2100)
    tags: list[Slug] = Field(min_length=1)
    summary: Annotated[Text, StringConstraints(max_length=200)]
    status: Literal["planned", "ready"]
    version: int = Field(1, ge=1)
    code: Repository | None = None
    claims: list[Claim] = []
    parameters: list[Parameter] = []
    data: list[DataNeed] = []
    models: list[str] = []
    less_memory: dict[str, Value] = Field(
        {}, description="parameters that save memory at the cost of time and nothing else"
    )
    deviations: list[Note] = []
    defects: list[Note] = []
    timeout: dict[Scale, int] = Field(
        {"smoke": 300, "small": 1800, "gpu": 1800, "paper": 86_400},
        description="deadline of the whole notebook, seconds",
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.status == "ready" and not (self.claims and self.parameters):
            raise ValueError("a ready paper needs claims and parameters")
        for field in ("claims", "deviations", "defects"):
            _require_unique((item.id for item in getattr(self, field)), field)
        _require_unique((p.name for p in self.parameters), "parameters")
        known = {p.name: p for p in self.parameters}
        for name, value in self.less_memory.items():
            if name not in known:
                raise ValueError(f"less_memory: `{name}` is no parameter")
            known[name].check(value)
        return self

    def claim(self, claim_id: str) -> Claim:
        """Return a claim by its id; raise KeyError if there is none."""
        return {claim.id: claim for claim in self.claims}[claim_id]

    def data_at(self, scale: Scale) -> list[DataNeed]:
        """Return the data needs at one scale."""
        return [need for need in self.data if need.scales is None or scale in need.scales]

    def resolve(self, scale: Scale, overrides: Mapping[str, object]) -> dict[str, Value]:
        """Return every parameter's value at ``scale``; strings in ``overrides`` are parsed.

        Raises:
            ParameterError: unknown name, wrong type or out of bounds.
        """
        known = {p.name: p for p in self.parameters}
        for name in overrides:
            if name not in known:
                raise ParameterError(f"{self._lacks(name, known)} (see `stemma show {self.slug}`)")
        values: dict[str, Value] = {}
        for name, parameter in known.items():
            given = overrides.get(name, parameter.default_at(scale))
            try:
                values[name] = (
                    parameter.parse(given)
                    if isinstance(given, str) and name in overrides
                    else parameter.check(given)
                )
            except ValueError as error:
                raise ParameterError(f"{self.slug}: parameter `{name}` {error}") from None
        return values

    def problems(self, overrides: Mapping[str, object]) -> dict[str, str]:
        """Return all that is wrong with values of parameters, by name; strings are not parsed."""
        known = {p.name: p for p in self.parameters}
        found = {}
        for name, value in overrides.items():
            try:
                if name not in known:
                    raise ValueError(self._lacks(name, known))
                known[name].check(value)
            except ValueError as error:
                found[name] = str(error)
        return found

    def _lacks(self, name: str, known: Iterable[str]) -> str:
        return f"{self.slug} has no parameter `{name}`{_hint(name, known)}"

    @property
    def rules_digest(self) -> str:
        """Sha256 of the claims' rules and settings: verdicts of other rules are out of date."""
        rules = [
            c.model_dump_json(include={"id", "rule", "scales", "untested"}) for c in self.claims
        ]
        return hashlib.sha256("\n".join(rules).encode()).hexdigest()

    def judge(self, scale: Scale, evidence: Evidence) -> list[ClaimResult]:
        """Return the verdict on every claim at ``scale``, given the evidence of one run."""
        return [self._judge(claim, scale, evidence) for claim in self.claims]

    def _judge(self, claim: Claim, scale: Scale, evidence: Evidence) -> ClaimResult:
        if claim.rule is None or scale not in claim.scales:
            reason = claim.why_untested(scale)
            return ClaimResult(claim=claim.id, verdict=Verdict.NOT_TESTED, reason=reason)
        return judge(claim.id, claim.rule, evidence.get(claim.id, {}), claim.scales[scale])


def _require_unique(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{what}: `{name}` stands twice")
        seen.add(name)


def slugs() -> list[str]:
    """Return the slugs of all papers, sorted."""
    return sorted(p.parent.name.replace("_", "-") for p in paths.papers().glob("*/paper.yaml"))


@cache
def _load(path: Path) -> Paper:
    text = path.read_text(encoding="utf-8")
    try:
        raw = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise CatalogError(f"{path}:{line}: not YAML: {error.problem}") from None
    try:
        paper = Paper.model_validate(raw)
    except ValidationError as error:
        # A misspelt field is also a missing one; the misspelling is what to point at.
        found = error.errors(include_url=False)
        first = min(found, key=lambda e: e["type"] != "extra_forbidden")
        where = ".".join(str(part) for part in first["loc"])
        line = _line_of(text, first["loc"])
        raise CatalogError(f"{path}:{line}: {where or 'paper'}: {first['msg']}") from None
    if paper.slug.replace("-", "_") != path.parent.name:
        raise CatalogError(f"{path}:1: slug `{paper.slug}` differs from its folder's name")
    return paper


def load(slug: str) -> Paper:
    """Return one paper.

    Raises:
        CatalogError: unknown slug, or a ``paper.yaml`` that does not fit the schema (the message
            points at file and line).
    """
    path = paths.papers() / slug.replace("-", "_") / "paper.yaml"
    if not path.is_file():
        raise CatalogError(f"no paper `{slug}`{_hint(slug, slugs())} (see `stemma list`)")
    return _load(path)


def clear_cache() -> None:
    """Forget the papers read so far (their files may have changed)."""
    _load.cache_clear()


def load_all() -> list[Paper]:
    """Return all papers, by their number."""
    return sorted((load(slug) for slug in slugs()), key=lambda paper: paper.number)


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _line_of(text: str, location: tuple[int | str, ...]) -> int:
    """Return the 1-based line of the deepest node of ``location`` that exists in the YAML text."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = node.start_mark.line + 1 if node is not None else 1
    for part in location:
        # Pydantic also names union members and missing keys, which are no nodes.
        if isinstance(node, yaml.MappingNode):
            pair = next((kv for kv in node.value if kv[0].value == str(part)), None)
            if pair is not None:
                line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and part in range(len(node.value)):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
    return line
