"""Manifests: what they ask for, and what is said to those that are wrong."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from house import House

from stemma.batch.manifest import Manifest, Request, expand, read
from stemma.cli import main
from stemma.errors import ManifestError, ParameterError, RunError, StemmaError

ROOT = Path(__file__).resolve().parents[1]
SEED = {"name": "seed", "type": "int", "default": 0, "help": "replicate"}
X = {"name": "x", "type": "int", "default": 1, "help": "a number", "minimum": 0}


@pytest.fixture
def papers(house: House) -> House:
    house.paper("alpha", ["y = 1"], parameters=[X, SEED], tags=["numerics"])
    house.paper("beta", ["y = 1"], tags=["text"])
    house.write_yaml("later", {"status": "planned"})
    return house


def write(house: House, text: str) -> Path:
    path = house.root / "overnight.yaml"
    path.write_text(text)
    return path


def asked(requests: list[Request]) -> list[tuple[str, str, dict[str, object]]]:
    return [(r.paper.slug, r.scale, r.overrides) for r in requests]


def test_every_combination_is_a_run_and_each_paper_takes_what_it_has(papers: House) -> None:
    manifest = read(write(papers, "runs: [{grid: {x: [1, 2]}, seeds: [5, 6], scale: smoke}]"))
    assert manifest.name == "overnight"
    assert asked(expand(manifest)) == [
        ("alpha", "smoke", {"x": 1, "seed": 5}),
        ("alpha", "smoke", {"x": 1, "seed": 6}),
        ("alpha", "smoke", {"x": 2, "seed": 5}),
        ("alpha", "smoke", {"x": 2, "seed": 6}),
        ("beta", "smoke", {"x": 1}),
        ("beta", "smoke", {"x": 2}),
    ]


def test_selections_are_joined_and_nothing_runs_twice(papers: House) -> None:
    text = """
    limits: {timeout: 60, memory_mb: 500}
    runs:
      - {papers: [beta], scale: [smoke, small]}
      - {tags: [text], scale: small}
      - {tags: [numerics], limits: {threads: 3}}
    """
    requests = expand(read(write(papers, text)))
    assert [r[:2] for r in asked(requests)] == [
        ("beta", "smoke"),
        ("beta", "small"),
        ("alpha", "small"),
    ]
    assert (requests[0].limits.timeout, requests[0].limits.memory_mb) == (60, 500)
    assert (requests[2].limits.timeout, requests[2].limits.threads) == (None, 3)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("runs: [", ManifestError, "overnight.yaml:1: not YAML"),
        ("runs: []", ManifestError, "runs: List should have at least 1 item"),
        ("job: 2\nruns: [{}]", ManifestError, "job: Extra inputs are not permitted"),
        ("runs: [{scale: huge}]", ManifestError, "runs.0.scale"),
        ("runs: [{grid: {x: []}}]", ManifestError, "runs.0.grid.x"),
        ("runs: [{grid: {x: [1]}, parameters: {x: 2}}]", ManifestError, "`x` is set twice"),
        ("runs: [{tags: [none]}]", ManifestError, "no paper with tag none is ready"),
        ("runs: [{papers: [later]}]", RunError, "later is planned"),
        ("runs: [{papers: [alphq]}]", StemmaError, "did you mean `alpha`"),
        ("runs: [{papers: [beta], seeds: [1]}]", ParameterError, "no parameter `seed`"),
        ("runs: [{parameters: {z: 1}}]", ParameterError, "none of alpha, beta has"),
        ("runs: [{grid: {x: [1, 2]}}]", ManifestError, "make the grid"),
        ("jobs: 0\nruns: [{}]", ManifestError, "jobs: Input should be greater"),
    ],
)
def test_what_is_wrong_is_said(
    papers: House, monkeypatch: pytest.MonkeyPatch, text: str, error: type[StemmaError], words: str
) -> None:
    monkeypatch.setattr("stemma.batch.manifest.MAX_RUNS", 1)
    with pytest.raises(error, match=words.replace("[", r"\[")):
        expand(read(write(papers, text)))


def test_a_missing_file_is_said(papers: House) -> None:
    with pytest.raises(ManifestError, match=r"cannot read .*absent\.yaml: No such file"):
        read(papers.root / "absent.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "runs").glob("*.yaml")), ids=lambda p: p.name)
def test_the_committed_manifests_fit(path: Path) -> None:
    assert expand(read(path))


def test_the_documented_manifest_fits(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "batch.md").read_text()
    path = tmp_path / "night.yaml"
    path.write_text(text.partition("```yaml")[2].partition("```")[0])
    assert len(expand(read(path))) == 2 * 3 + 2 * 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "name papers, or say --all"),
        (["run", "alpha", "--all"], "either papers or --all"),
        (["run", "-f", "overnight.yaml", "--scale", "smoke"], "leave out scale"),
    ],
)
def test_a_command_line_that_contradicts_itself(
    papers: House, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    write(papers, "runs: [{}]")
    monkeypatch.chdir(papers.root)
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert words in done.output
    assert not papers.runs.exists()


def test_a_batch_without_seeds_is_a_batch_of_defaults(papers: House) -> None:
    assert asked(expand(Manifest.model_validate({"runs": [{"papers": ["alpha"]}]}))) == [
        ("alpha", "small", {})
    ]
