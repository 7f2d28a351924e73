"""The catalog of papers: its schema, its messages, its parameters, and that notebooks agree."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from stemma import catalog, paths
from stemma.catalog import SCALES, Claim, Paper, Parameter
from stemma.claims import Verdict
from stemma.errors import CatalogError, ParameterError

ROOT = Path(__file__).resolve().parents[1]
PAPERS = catalog.load_all()
READY = [paper for paper in PAPERS if paper.status == "ready"]

TAGS = {
    # what is modelled
    "language-models": "language models and text",
    "vision": "images, with or without text",
    "embeddings": "vectors for words or texts",
    "recommender": "recommendation from clicks or ratings",
    "linguistics": "questions about language itself",
    "multilingual": "several languages or dialects",
    # how it is trained
    "pretraining": "what pretraining data or objectives bring about",
    "fine-tuning": "supervised training of a pretrained model",
    "in-context-learning": "learning from the prompt",
    "reinforcement-learning": "policy gradients and their relatives",
    "alignment": "training or judging by preferences",
    "model-merging": "one model from several, without joint training",
    "training-data": "which data to train on: selection, synthesis, distillation, curricula",
    # what is asked
    "generation": "how outputs are drawn: decoding, diffusion, synthesis",
    "reasoning": "problems in several steps",
    "factuality": "knowledge, conflicts with it, hallucination",
    "safety": "harmful outputs and their prevention",
    "interpretability": "what happens inside a model",
    "evaluation": "benchmarks, judges, metrics",
    "distribution-shift": "test data unlike training data",
    "fairness": "differences between groups or individuals",
    "provenance": "where a text or a model comes from",
    # the mathematics
    "statistics": "tests, intervals, sampling",
    "optimization": "solvers and integer programs",
    "theory": "theorems",
}
"""Every tag a paper may have, so that filtering by one finds all papers that it fits."""


# The forty papers


def test_the_catalog_is_whole() -> None:
    numbers = [paper.number for paper in PAPERS]
    assert len(numbers) == 40
    assert numbers == list(range(1, 41))
    assert len({paper.arxiv for paper in PAPERS}) == len(PAPERS)
    assert len({paper.title for paper in PAPERS}) == len(PAPERS)


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.slug)
def test_a_paper_is_described_for_readers_and_filters(paper: Paper) -> None:
    assert paper.year == 2000 + int(paper.arxiv[:2]), "the year of the first arXiv version"
    assert set(paper.tags) <= set(TAGS), "use the tags listed in this test"
    assert 2 <= len(set(paper.tags)) == len(paper.tags) <= 4
    assert paper.summary.endswith("."), "one sentence"
    assert "\n" not in paper.summary
    assert paper.title not in paper.summary


def test_most_tags_bring_papers_together() -> None:
    if len(PAPERS) < 40:
        pytest.skip(f"{len(PAPERS)} of 40 papers are in the catalog")
    alone = [tag for tag in TAGS if sum(tag in paper.tags for paper in PAPERS) < 2]
    assert len(alone) <= 2, alone


# Claims


def _claim(**fields: Any) -> Claim:
    rule = {"kind": "difference", "direction": "greater"}
    untested = {"gpu": "no GPU run yet", "paper": "needs 400 GPU hours"}
    defaults = {
        "id": "C1",
        "statement": "A beats B.",
        "paper_value": "3.2",
        "where": "table 1",
        "sure": "page",
        "statistic": "accuracy of A minus B, by seed",
        "rule": rule,
        "scales": {"small": "reduced"},
        "untested": untested,
    }
    return Claim.model_validate({**defaults, **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"untested": {"gpu": "why"}}, "scale paper must be either in `scales` or in `untested`"),
        ({"scales": {"small": "full", "gpu": "full"}}, "scale gpu must be either"),
        ({"scales": {"small": "full", "smoke": "full"}}, "smoke draws no conclusion"),
        ({"rule": None}, "is tested but has no `rule`"),
        ({"scales": {"small": "partly"}}, "'full' or 'reduced'"),
        ({"id": "claim 1"}, "match pattern"),
        ({"sure": "certain"}, "'abstract', 'code', 'page', 'figure' or 'memory'"),
    ],
)
def test_a_claim_accounts_for_every_scale(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _claim(**fields)


def test_a_claim_is_judged_where_it_is_tested_and_says_why_elsewhere() -> None:
    paper = _paper(claims=[_claim().model_dump(exclude_none=True)])
    evidence = {"C1": {"": {"ours": [1, 2, 3, 4, 5], "baseline": [0, 0, 0, 0, 0]}}}
    got = {scale: paper.judge(scale, evidence)[0] for scale in SCALES}
    assert got["small"].verdict is Verdict.TREND_HOLDS
    assert (got["gpu"].verdict, got["gpu"].reason) == (Verdict.NOT_TESTED, "no GPU run yet")
    assert got["smoke"].verdict is Verdict.NOT_TESTED
    assert "draws no conclusion" in got["smoke"].reason
    assert paper.judge("small", {})[0].verdict is Verdict.INCONCLUSIVE
    with pytest.raises(KeyError):
        paper.claim("C2")


# Parameters


def _parameter(**fields: Any) -> Parameter:
    return Parameter.model_validate({"name": "p", "help": "A parameter.", **fields})


def _paper(**fields: Any) -> Paper:
    seeds = {"name": "seeds", "type": "int", "default": {"smoke": 1, "small": 5, "paper": 9}}
    defaults = {
        "slug": "a-paper",
        "number": 1,
        "title": "A Paper",
        "arxiv": "2401.00001",
        "year": 2024,
        "tags": ["theory"],
        "summary": "It claims something.",
        "status": "planned",
        "parameters": [
            {**seeds, "minimum": 1, "maximum": 100, "help": "Seeds."},
            {"name": "rate", "type": "float", "default": 0.1, "help": "Learning rate."},
            {"name": "layers", "type": "list[int]", "default": [1, 2], "help": "Layers."},
        ],
    }
    return Paper.model_validate({**defaults, **fields})


def test_a_scale_without_default_takes_that_of_small() -> None:
    paper = _paper()
    seeds = {scale: paper.resolve(scale, {})["seeds"] for scale in SCALES}
    assert seeds == {"smoke": 1, "small": 5, "gpu": 5, "paper": 9}


def test_overrides_are_parsed_and_the_rest_keeps_its_default() -> None:
    got = _paper().resolve("small", {"seeds": "7", "layers": "3, 4"})
    assert got == {"seeds": 7, "rate": 0.1, "layers": [3, 4]}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"seed": 3}, "a-paper has no parameter `seed`; did you mean `seeds`?.*stemma show"),
        ({"banana": 3}, r"no parameter `banana` \(see"),
        ({"seeds": 0}, "a-paper: parameter `seeds` must be at least 1, got 0"),
        ({"seeds": 101}, "must be at most 100, got 101"),
        ({"seeds": 2.5}, "`seeds` must be int, got 2.5"),
        ({"seeds": True}, "`seeds` must be int, got True"),
        ({"seeds": "many"}, "`seeds` must be int, got 'many'"),
        ({"layers": 3}, r"`layers` must be list\[int\], got 3"),
        ({"layers": "1,b"}, r"`layers` must be list\[int\]"),
    ],
)
def test_a_wrong_override_is_refused(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        _paper().resolve("small", overrides)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("bool", "true", True),
        ("bool", "0", False),
        ("int", "-3", -3),
        ("float", "1e-4", 1e-4),
        ("float", "2", 2.0),
        ("str", "12", "12"),
        ("list[int]", "1,2", [1, 2]),
        ("list[int]", "[]", []),
        ("list[float]", "[1, 0.5]", [1.0, 0.5]),
        ("list[str]", "a, b", ["a", "b"]),
    ],
)
def test_text_becomes_the_parameters_type(kind: str, text: str, value: Any) -> None:
    default = {"bool": True, "int": 1, "float": 1.0, "str": "a"}.get(kind, [])
    got = _parameter(type=kind, default=default).parse(text)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("fields", "value", "message"),
    [
        ({"type": "int", "default": 1}, 1.0, "must be int"),
        ({"type": "float", "default": 1.0}, "1", "must be float"),
        ({"type": "str", "default": "a", "choices": ["a", "b"]}, "c", "one of a, b, got 'c'"),
        ({"type": "list[float]", "default": [], "maximum": 1}, [0.5, 1.5], "at most 1, got 1.5"),
        ({"type": "list[str]", "default": [], "choices": ["a"]}, ["a", "b"], "one of a, got 'b'"),
    ],
)
def test_bounds_and_choices_bind_each_item(
    fields: dict[str, Any], value: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _parameter(**fields).check(value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "int", "default": "5"}, "must be int"),
        ({"type": "int", "default": {"gpu": 5}}, "must at least name `small`"),
        ({"type": "int", "default": {"small": 5, "gpu": 0}, "minimum": 1}, "at least 1, got 0"),
        ({"type": "int", "default": {"small": 5, "huge": 9}}, "default"),
        ({"type": "integer", "default": 5}, "'bool', 'int'"),
        ({"type": "int", "default": 5, "name": "a-b"}, "match pattern"),
    ],
)
def test_a_default_must_fit_its_own_parameter(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _parameter(**fields)


# Messages

GOOD = """\
slug: a-paper
number: 7
title: "A Paper"
arxiv: "2401.00001"
year: 2024
tags: [theory, statistics]
summary: It claims something.
status: ready
claims:
  - id: C1
    statement: A beats B.
    paper_value: "3.2"
    where: table 1
    sure: page
    statistic: accuracy of A minus B, by seed
    rule: {kind: difference, direction: greater}
    scales: {small: reduced, gpu: reduced}
    untested:
      paper: needs 400 GPU hours
parameters:
  - name: seeds
    type: int
    default: {smoke: 1, small: 5}
    minimum: 1
    help: Independent repetitions.
  - name: seed
    type: int
    default: 0
    help: All other seeds derive from it.
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes the text of a paper ``a-paper`` into a catalog of its own."""
    monkeypatch.setenv("STEMMA_PAPERS", str(tmp_path))

    def write_text(text: str, folder: str = "a_paper") -> Path:
        path = tmp_path / folder / "paper.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        catalog.clear_cache()
        return path

    yield write_text
    catalog.clear_cache()


def test_a_good_paper_loads(write: Any) -> None:
    write(GOOD)
    assert catalog.slugs() == ["a-paper"]
    assert catalog.load("a-paper").claim("C1").scales == {"small": "reduced", "gpu": "reduced"}
    assert catalog.load_all() == [catalog.load("a-paper")]


@pytest.mark.parametrize(
    ("old", "new", "line_of", "message"),
    [
        ("year: 2024", "year: soon", "year", "year: Input should be a valid integer"),
        ('"2401.00001"', '"2401"', "arxiv", "arxiv: String should match"),
        ("summary: It", f"summary: {'very ' * 60}", "summary", "at most 200 characters"),
        ("status: ready", "status: done", "status", "'planned' or 'ready'"),
        ("    sure: page", "    surely: page", "surely", "surely: Extra inputs are not permitted"),
        ("    where: table 1\n", "", "- id: C1", "where: Field required"),
        ("kind: difference", "kind: differences", "rule:", "rule"),
        ("direction: greater", "direction: up", "rule:", "direction: Input should be"),
        ("gpu: reduced", "gpu: reduce", "scales:", "'full' or 'reduced'"),
        ("      paper: needs", "      papr: needs", "papr", "untested"),
        ("gpu: reduced}", "smoke: full, gpu: full}", "- id: C1", "smoke draws no conclusion"),
        ("    type: int\n    default: {", "    type: integer\n    default: {", "type: int", "type"),
        ("small: 5}", "small: 0}", "- name: seeds", "must be at least 1, got 0"),
        ("small: 5}", "small: five}", "- name: seeds", "must be int, got 'five'"),
        ("name: seed\n", "name: seeds\n", "slug", "`seeds` stands twice"),
        ("status: ready", "status: ready\nversion: 0", "version: 0", "version"),
        ("    help: Ind", "\thelp: Ind", "help: Ind", "not YAML"),
    ],
)
def test_a_typo_is_reported_with_file_and_line(
    write: Any, old: str, new: str, line_of: str, message: str
) -> None:
    assert GOOD.count(old) == 1
    text = GOOD.replace(old, new)
    path = write(text)
    with pytest.raises(CatalogError) as caught:
        catalog.load("a-paper")
    where, report = str(caught.value).split(": ", 1)
    file, line = where.rsplit(":", 1)
    assert file == str(path)
    assert message in report
    assert line_of in text.splitlines()[int(line) - 1]


def test_a_folder_must_bear_the_papers_slug(write: Any) -> None:
    write(GOOD, folder="another_paper")
    with pytest.raises(CatalogError, match="slug `a-paper` differs from its folder's name"):
        catalog.load("another-paper")


def test_a_ready_paper_needs_claims_and_parameters(write: Any) -> None:
    write(GOOD[: GOOD.index("parameters:")])
    with pytest.raises(CatalogError, match="a ready paper needs claims and parameters"):
        catalog.load("a-paper")


def test_an_unknown_paper_gets_a_hint(write: Any) -> None:
    write(GOOD)
    with pytest.raises(CatalogError, match="no paper `a-papr`; did you mean `a-paper`"):
        catalog.load("a-papr")


# Notebooks


def _parameters_cell(notebook: Path) -> ast.Module:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1, "one cell tagged `parameters`"
    code = [c for c in cells if c["cell_type"] == "code"]
    assert tagged[0] is code[0], "the first code cell"
    return ast.parse("".join(tagged[0]["source"]))


@pytest.mark.parametrize("paper", READY, ids=lambda paper: paper.slug)
def test_a_notebooks_parameters_are_those_of_its_paper(paper: Paper) -> None:
    cell = _parameters_cell(paths.notebook(paper.slug))
    assert all(isinstance(node, ast.AnnAssign) for node in cell.body), "plain typed defaults only"
    given = [
        (ast.unparse(node.target), ast.unparse(node.annotation), ast.literal_eval(node.value))
        for node in cell.body
        if isinstance(node, ast.AnnAssign) and node.value is not None
    ]
    expected = [(p.name, p.type, p.default_at("small")) for p in paper.parameters]
    assert given[0] == ("scale", "str", "small")
    assert sorted(given[1:]) == sorted(expected)


@pytest.mark.parametrize("paper", READY, ids=lambda paper: paper.slug)
def test_a_ready_paper_can_be_imported_and_says_what_it_needs(paper: Paper) -> None:
    folder = paths.papers() / paper.slug.replace("-", "_")
    assert (folder / "__init__.py").is_file()
    assert "seed" in {p.name for p in paper.parameters}
    assert any("small" in claim.scales for claim in paper.claims)


@pytest.mark.parametrize("path", sorted((ROOT / "stemma" / "papers").glob("*/paper.yaml")))
def test_a_commit_is_text(path: Path) -> None:
    """An unquoted commit such as 0074136 or 1e5 would be read as a number."""
    code = yaml.safe_load(path.read_text(encoding="utf-8")).get("code") or {}
    assert isinstance(code.get("commit", ""), str)
