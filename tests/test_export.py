"""Exports: RO-Crates that the reference validator accepts and that say what the records say."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from click.testing import CliRunner
from crate_house import (
    COMMIT,
    CONTEXTS,
    PNG,
    STARTED,
    Validator,
    three_runs,
    write_batch,
    write_reference,
    write_run,
)
from house import House
from rocrate.rocrate import ROCrate

from stemma import catalog, paths
from stemma.batch import batches
from stemma.batch.records import Result, RunState, Spec, State
from stemma.cli import main
from stemma.errors import RunError
from stemma.report import crate

RUN, BATCH = "workflow-run-crate", "provenance-run-crate"
COMPLETED = "http://schema.org/CompletedActionStatus"
FAILED = "http://schema.org/FailedActionStatus"

# What the profiles recommend and a crate leaves out: no person or organization is made up, nor an
# address of the project, and nothing claims a Bioschemas profile that it does not follow.
LEFT_OUT = {
    "The Action SHOULD have an agent that is a Person or Organization",
    "The Application SHOULD have a url",
    "The Main Workflow SHOULD comply with Bioschemas ComputationalWorkflow profile version 1.0 or"
    " later",
    "The Root Data Entity SHOULD have a link to a Contextual Entity representing the `author` of"
    " the RO-Crate",
    "The SoftwareApplication id SHOULD be an absolute URI",
    "The `publisher` property of a `Root Data Entity` SHOULD be an `Organization`",
}


@pytest.fixture(scope="module")
def validator(tmp_path_factory: pytest.TempPathFactory) -> Validator:
    return Validator(tmp_path_factory.mktemp("contexts") / "cache")


@pytest.fixture
def toy(house: House) -> Path:
    """The folder of a run of a toy paper."""
    house.paper("toy-paper", ["run.verdicts()"])
    return write_run("toy-paper")


def graph(folder: Path) -> dict[str, dict[str, Any]]:
    metadata = json.loads((folder / "ro-crate-metadata.json").read_text())
    return {entity["@id"]: entity for entity in metadata["@graph"]}


def export(target: str | Path, out: Path) -> Path:
    return crate.export(str(target), "small", out).path


def test_a_run_is_a_valid_workflow_run_crate(
    toy: Path, tmp_path: Path, validator: Validator
) -> None:
    path = export("toy-paper", tmp_path / "toy.zip")
    assert validator.issues(path, RUN) == []
    recommended = validator.issues(path, RUN, "RECOMMENDED")
    assert {issue.partition(": ")[2] for issue in recommended} == LEFT_OUT


def test_the_validator_sees_what_is_missing(
    toy: Path, tmp_path: Path, validator: Validator
) -> None:
    folder = export(toy, tmp_path / "crate")
    (folder / "notebooks" / "toy-paper.ipynb").unlink()
    metadata = folder / "ro-crate-metadata.json"
    metadata.write_text(metadata.read_text().replace('"instrument"', '"position"'))
    issues = validator.issues(folder, RUN)
    assert any("MUST have an instrument" in issue for issue in issues)
    assert any("notebooks/toy-paper.ipynb" in issue for issue in issues)


def test_the_reference_of_a_real_paper_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validator: Validator
) -> None:
    monkeypatch.setenv("STEMMA_RUNS", str(tmp_path / "runs"))
    folder = write_reference("dpp-least-squares")
    path = export("dpp-least-squares", tmp_path / "dpp")
    assert validator.issues(path, RUN) == []
    entities = graph(path)
    result: Result = Result.read(folder / "result.json")
    judged = result.judged_by(catalog.load(result.slug)).claims
    name = f"dpp-least-squares-{result.key[:16]}"
    for claim in judged:
        assert entities[f"#{name}-claim-{claim.claim}"]["value"] == claim.verdict.value
    spaces = entities[f"#{name}-parameter-spaces"]
    assert spaces["value"] == result.parameters["spaces"]
    assert entities[spaces["exampleOfWork"]["@id"]]["multipleValues"] is True
    data = entities[f"#data-sklearn-diabetes-{result.digests['sklearn-diabetes'][:12]}"]
    assert data["sha256"] == result.digests["sklearn-diabetes"]
    assert data["license"]
    torch = entities["https://pypi.org/project/torch/2.13.0/"]
    assert torch["softwareVersion"] == result.fingerprint["torch"]
    readme = (path / "README.md").read_text()
    assert all(f"| {claim.claim} |" in readme for claim in judged)


def test_what_was_written_is_read_back(toy: Path, tmp_path: Path) -> None:
    read = ROCrate(export(toy, tmp_path / "toy.zip"))
    action = read.root_dataset["mentions"]
    assert action.type == "CreateAction"
    assert action["instrument"] is read.mainEntity
    assert read.mainEntity.type == ["File", "SoftwareSourceCode", "ComputationalWorkflow"]
    assert action["actionStatus"] == COMPLETED
    assert "error" not in action
    assert action["startTime"] == "2025-10-09T08:53:20.250+00:00"
    assert action["endTime"] == "2025-10-09T08:54:20.500+00:00"
    assert action["agent"]["softwareVersion"] == COMMIT
    given = {e["name"]: e for e in action["object"]}
    assert given["x"]["value"] == 1
    slot = given["x"]["exampleOfWork"]
    assert slot in read.mainEntity["input"]
    assert (slot["additionalType"], slot["defaultValue"], slot["minValue"]) == ("Integer", 1, 0)
    assert given["scale"]["value"] == "small"
    assert given["python-stdlib"]["sha256"] == "cd" * 32
    assert given["device"]["value"] == "cpu"
    modules = given["Modules of the project that the notebook imports"]
    assert modules["hasPart"]["name"] == "stemma/recorder.py"
    left = {e["name"]: e for e in action["result"]}
    assert left.keys() == {
        "executed.ipynb",
        "result.json",
        "evidence.json",
        "log.txt",
        "curve.png",
        "scores.csv",
        "claim C1",
    }
    assert left["claim C1"]["value"] == "trend holds"
    assert left["curve.png"]["description"] == "A curve"
    assert left["result.json"]["conformsTo"]["name"] == "result.schema.json"
    assert read.root_dataset["citation"]["@id"] == "https://arxiv.org/abs/2401.00001"
    assert read.license["name"] == "Apache License 2.0"


def test_every_file_has_its_size_and_digest(toy: Path, tmp_path: Path) -> None:
    folder = export(toy, tmp_path / "crate")
    described = {unquote(i): e for i, e in graph(folder).items() if "contentSize" in e}
    written = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    del written["ro-crate-metadata.json"]
    assert described.keys() >= written.keys()
    for name, path in written.items():
        content = path.read_bytes()
        assert described[name]["contentSize"] == str(len(content))
        assert described[name]["sha256"] == hashlib.sha256(content).hexdigest()
        assert described[name]["encodingFormat"] != "application/octet-stream"
    assert written[f"runs/toy-paper-{toy.name}/figures/curve.png"].read_bytes() == PNG


def test_the_schema_is_that_of_the_result(toy: Path, tmp_path: Path) -> None:
    folder = export(toy, tmp_path / "crate")
    schema = json.loads((folder / "result.schema.json").read_text())
    result = json.loads((toy / "result.json").read_text())
    assert result.keys() <= schema["properties"].keys()
    assert schema["properties"]["version"]["const"] == result["version"]


def test_only_terms_of_the_declared_contexts_are_used(house: House, tmp_path: Path) -> None:
    folder = export(three_runs(house).id, tmp_path / "crate")
    known = {"@id", "@type", *(term for terms in CONTEXTS.values() for term in terms)}
    for entity in graph(folder).values():
        kinds = entity["@type"]
        assert {*entity, *([kinds] if isinstance(kinds, str) else kinds)} <= known
    metadata = json.loads((folder / "ro-crate-metadata.json").read_text())
    assert metadata["@context"] == list(CONTEXTS)


def test_a_failed_run_says_why(house: House, tmp_path: Path, validator: Validator) -> None:
    house.paper("toy-paper", ["raise ValueError('no luck')"])
    folder = write_run("toy-paper", state=State.FAILED)
    path = export(folder, tmp_path / "toy.zip")
    assert validator.issues(path, RUN) == []
    action = ROCrate(path).root_dataset["mentions"]
    assert action["actionStatus"] == FAILED
    assert action["error"] == "failed: error: ValueError: no luck"
    assert {e["name"] for e in action["result"]} == {"executed.ipynb", "result.json", "log.txt"}


def test_a_run_whose_worker_died_is_exported_without_a_result(
    house: House, tmp_path: Path, validator: Validator
) -> None:
    house.paper("toy-paper", ["run.verdicts()"])
    folder = write_run("toy-paper", state=State.LOST)
    for name in ("result.json", "executed.ipynb"):
        (folder / name).unlink()
    path = export(folder, tmp_path / "toy.zip")
    assert validator.issues(path, RUN) == []
    action = ROCrate(path).root_dataset["mentions"]
    assert action["actionStatus"] == FAILED
    assert action["result"]["name"] == "log.txt"


def test_a_batch_is_a_valid_provenance_run_crate(
    house: House, tmp_path: Path, validator: Validator
) -> None:
    batch = three_runs(house)
    path = export(batch.id, tmp_path / "night.zip")
    assert validator.issues(path, BATCH) == []
    assert validator.issues(path, RUN) == []
    recommended = validator.issues(path, BATCH, "RECOMMENDED")
    assert {issue.partition(": ")[2] for issue in recommended} == LEFT_OUT
    read = ROCrate(path)
    actions = {a["name"]: a for a in read.root_dataset["mentions"]}
    whole = actions["Batch night"]
    assert whole["instrument"] is read.mainEntity
    assert whole["error"].endswith("1 of 3 runs did not succeed: toy-paper x=2")
    runs = [a for a in actions.values() if a["name"].startswith("Run of")]
    assert [a["actionStatus"] for a in runs] == [COMPLETED, FAILED, COMPLETED]
    assert runs[0]["instrument"] is runs[1]["instrument"]
    assert "taken from the cache" in runs[2]["description"]
    engine = actions[f"Runner of batch {batch.id}"]
    assert [c["object"] for c in engine["object"]] == runs
    steps = read.mainEntity["step"]
    assert [step["workExample"] for step in steps] == [run["instrument"] for run in runs]
    assert [step["position"] for step in steps] == ["1", "2", "3"]


def test_a_batch_tells_own_times_and_keeps_those_of_cached_runs(
    house: House, tmp_path: Path
) -> None:
    house.paper("toy-paper", ["run.verdicts()"])
    batch = write_batch({"toy-paper": write_run("toy-paper")}, cached="toy-paper")
    entities = graph(export(batch.id, tmp_path / "crate"))
    run = entities[f"#run-{batch.runs[0].name}"]
    assert run["startTime"] == "2025-10-09T08:53:20.250+00:00"
    # The batch began, and was over, before the run that it took from the cache "ended" here.
    assert entities[f"#batch-{batch.id}"]["endTime"] == "2025-10-09T08:53:15.250+00:00"
    assert entities["./"]["datePublished"] == "2025-10-09T08:53:15.250+00:00"


def test_a_batch_outlives_the_folders_of_its_runs(
    house: House, tmp_path: Path, validator: Validator
) -> None:
    batch = three_runs(house)
    for run in batch.runs:
        shutil.rmtree(batches.run_folder(run))
    path = export(batch.id, tmp_path / "night.zip")
    assert validator.issues(path, BATCH) == []
    read = ROCrate(path)
    runs = [a for a in read.root_dataset["mentions"] if a["name"].startswith("Run of")]
    assert [a["actionStatus"] for a in runs] == [COMPLETED, FAILED, COMPLETED]
    assert all("only the result is here" in a["description"] for a in runs)
    assert runs[0]["instrument"]["description"].endswith("is not at hand")
    assert {e["name"] for e in runs[0]["result"]} == {"result.json", "claim C1"}


def test_files_of_a_later_execution_are_not_passed_off_as_the_batchs(
    house: House, tmp_path: Path
) -> None:
    batch = three_runs(house)
    folder = batches.run_folder(batch.runs[0])
    later: Result = Result.read(folder / "result.json")
    later.model_copy(update={"seconds": 1.5}).write(folder / "result.json")
    path = export(batch.id, tmp_path / "crate")
    left = path / "runs" / batch.runs[0].name
    assert [p.name for p in left.iterdir()] == ["result.json"]
    assert Result.read(left / "result.json").seconds == 60.25


def test_a_run_that_never_started_is_in_the_batch(
    house: House, tmp_path: Path, validator: Validator
) -> None:
    batch = three_runs(house)
    run = batch.runs[1]
    shutil.rmtree(batches.run_folder(run))
    batches.result_path(batch.id, run).unlink()
    batches.keep(batch.id, run, RunState(state=State.CANCELLED, attempts=0))
    path = export(batch.id, tmp_path / "night.zip")
    assert validator.issues(path, BATCH) == []
    action = ROCrate(path).get(f"#run-{run.name}")
    assert action["error"] == "cancelled"
    assert "it never started" in action["description"]
    assert not {"startTime", "endTime", "object", "result"} & set(action)


def test_the_same_records_give_the_same_bytes(house: House, tmp_path: Path) -> None:
    batch = three_runs(house)
    for target in ("toy-paper", batch.id):
        one, two = (export(target, tmp_path / f"{i}{target}.zip") for i in range(2))
        assert one.read_bytes() == two.read_bytes()


def test_hostile_file_names_survive(toy: Path, tmp_path: Path, validator: Validator) -> None:
    names = [
        "a b#c%20.bin",
        "ü € 漢.txt",
        "-rf",
        "x?y&z.json",
        "ro-crate-metadata.json",
        "n\nl",
        "'\"",
    ]
    for name in names:
        (toy / "artifacts" / name).write_text(name)
    (toy / "artifacts" / "empty #").touch()
    path = export(toy, tmp_path / "toy.zip")
    assert validator.issues(path, RUN) == []
    shutil.unpack_archive(path, tmp_path / "out")
    found = tmp_path / "out" / "runs" / f"toy-paper-{toy.name}" / "artifacts"
    assert {p.name: p.read_text() for p in found.iterdir()} == {n: n for n in names} | {
        "empty #": ""
    }


def test_links_out_of_the_run_are_left_out(toy: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("private")
    (toy / "artifacts" / "file").symlink_to(secret / "key")
    (toy / "artifacts" / "folder").symlink_to(secret)
    shutil.rmtree(toy / "tables")
    (toy / "tables").symlink_to(secret)
    folder = export(toy, tmp_path / "crate")
    assert "private" not in {
        p.read_text(errors="replace") for p in folder.rglob("*") if p.is_file()
    }


def test_a_file_name_that_is_no_unicode_is_refused(toy: Path, tmp_path: Path) -> None:
    (toy / "artifacts" / os.fsdecode(b"\xff.bin")).touch()
    with pytest.raises(RunError, match="no Unicode: rename or delete it"):
        export(toy, tmp_path / "toy.zip")


def test_a_changed_notebook_is_taken_from_the_executed_one(
    house: House, toy: Path, tmp_path: Path
) -> None:
    before = json.loads(paths.notebook("toy-paper").read_text())
    house.paper("toy-paper", ["print('changed since')"])
    path = export(toy, tmp_path / "crate")
    exported = json.loads((path / "notebooks" / "toy-paper.ipynb").read_text())
    assert [c["source"] for c in exported["cells"]] == [c["source"] for c in before["cells"]]
    assert all(c.get("outputs", []) == [] for c in exported["cells"])
    assert "papermill" not in json.dumps(exported)


def test_a_notebook_that_is_lost_is_said_so(house: House, toy: Path, tmp_path: Path) -> None:
    house.paper("toy-paper", ["print('changed since')"])
    (toy / "executed.ipynb").write_text("{ torn")
    with pytest.raises(RunError, match=f"check out commit {COMMIT}"):
        export(toy, tmp_path / "toy.zip")


def test_pinned_versions_are_there_only_if_they_are_the_runs(
    house: House, toy: Path, tmp_path: Path
) -> None:
    assert (export(toy, tmp_path / "a") / "constraints.txt").is_file()
    (house.root / "constraints.txt").write_text("numpy==1\n")
    assert not (export(toy, tmp_path / "b") / "constraints.txt").exists()


def test_verdicts_are_those_of_the_present_rules(house: House, toy: Path, tmp_path: Path) -> None:
    claim = catalog.load("toy-paper").claims[0].model_dump(mode="json", exclude_defaults=True)
    claim["rule"] = {"kind": "difference", "direction": "less"}
    house.write_yaml("toy-paper", {"claims": [claim]})
    catalog.clear_cache()
    entities = graph(export(toy, tmp_path / "crate"))
    assert entities[f"#toy-paper-{toy.name}-claim-C1"]["value"] == "contradicted"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no-such-paper", "no paper, run folder or batch `no-such-paper`"),
        ("notebooks", "no paper, run folder or batch `notebooks`"),
        ("other-paper", "no completed run of other-paper at small: `stemma run other-paper"),
        ("../../etc", "no paper, run folder or batch"),
    ],
)
def test_a_target_that_is_none(house: House, toy: Path, target: str, message: str) -> None:
    house.paper("other-paper", ["run.verdicts()"])
    answer = CliRunner().invoke(main, ["export", target])
    assert answer.exit_code == 2
    assert message in answer.output
    assert answer.output.count("\n") == 1


def test_what_is_not_over_is_not_exported(house: House, tmp_path: Path) -> None:
    batch = three_runs(house)
    folder = batches.run_folder(batch.runs[1])
    spec: Spec = Spec.read(folder / "spec.json")
    spec.model_copy(update={"batch": batch.id}).write(folder / "spec.json")
    RunState(state=State.RUNNING, started=STARTED).write(folder / "state.json")
    with pytest.raises(RunError, match="is running: wait for it"):
        export(folder, tmp_path / "toy.zip")
    (batches.folder(batch.id) / "results" / f"{batch.runs[1].name}.state.json").unlink()
    with pytest.raises(RunError, match=r"not over \(1 of 3 runs to go\)"):
        export(batch.id, tmp_path / "night.zip")
    assert not list(tmp_path.glob("*.zip"))


def test_records_of_another_version_are_refused(toy: Path, tmp_path: Path) -> None:
    (toy / "spec.json").write_text('{"version": 99}')
    with pytest.raises(RunError, match="no records that this version reads"):
        export(toy, tmp_path / "toy.zip")


def test_nothing_is_overwritten_unless_forced(toy: Path, tmp_path: Path) -> None:
    path = export(toy, tmp_path / "toy.zip")
    path.write_text("mine")
    with pytest.raises(RunError, match="--force replaces it"):
        export(toy, path)
    assert path.read_text() == "mine"
    crate.export(str(toy), "small", path, force=True)
    assert ROCrate(path).mainEntity is not None
    folder = export(toy, tmp_path / "crate")
    (folder / "stale").touch()
    crate.export(str(toy), "small", folder, force=True)
    assert not (folder / "stale").exists()


def test_force_never_deletes_what_is_no_crate(toy: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="is no crate, so it is not replaced"):
        crate.export(str(toy), "small", home, force=True)
    assert (home / "thesis.tex").read_text() == "years of work"


def test_a_place_that_cannot_be_written(toy: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="make it"):
        export(toy, tmp_path / "none" / "toy.zip")


def test_a_failed_write_leaves_nothing(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(RunError, match="No space left on device"):
        export(toy, out / "toy.zip")
    assert list(out.iterdir()) == []


def test_the_command(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(main, ["export", "toy-paper"])
    assert answer.exit_code == 0, answer.output
    name = f"toy-paper-{toy.name}.crate.zip"
    assert answer.output == f"wrote {name}: 1 run, 15 files\n"
    assert (tmp_path / name).is_file()
