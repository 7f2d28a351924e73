"""Run folders and batches written by hand, and the validator of RO-Crates, for tests of exports."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from house import House
from requests_cache import CachedRequest, CachedResponse, CachedSession
from rocrate.vocabs import RO_CRATE
from rocrate_validator import services

from stemma import catalog, paths
from stemma.batch import batches
from stemma.batch import key as keys
from stemma.batch.records import Batch, BatchRun, Failure, Result, RunState, Spec, State
from stemma.files import write_json

STARTED, ENDED = 1_760_000_000.25, 1_760_000_060.5
COMMIT = "87be19e96a52fa54acee70bd25ad94f788da6d1a"
FINGERPRINT = {
    "git_commit": COMMIT,
    "git_dirty": "false",
    "python": "3.11.7",
    "machine": "x86_64",
    "system": "Linux",
    "torch": "2.13.0+cpu",
    "papermill": "2.7.0",
}
EVIDENCE: dict[str, Any] = {
    "C1": {"": {"ours": [1.0, 1.1, 1.2, 1.1, 1.0], "baseline": [0.1, 0.2, 0.1, 0.2, 0.15]}}
}
PNG = b"\x89PNG\r\n\x1a\n"


def write_run(
    slug: str, *, state: State = State.SUCCEEDED, x: int = 1, scale: catalog.Scale = "small"
) -> Path:
    """Write the folder of a run that is over, as a worker and a runner would leave it."""
    cells = keys.code_cells(paths.notebook(slug))
    pinned = (paths.home() / "constraints.txt").read_bytes()
    ingredients = {
        "notebook": keys.notebook_digest(cells),
        "constraints.txt": hashlib.sha256(pinned).hexdigest(),
        "device": "cpu",
        "parameter x": str(x),
        "stemma/recorder.py": "ab" * 32,
    }
    spec = _spec(
        slug, scale, keys.key(ingredients), ingredients, {"x": x}, {"text": "python-stdlib"}
    )
    folder = paths.runs() / "out" / slug / spec.key[:16]
    for name in ("figures", "tables", "artifacts"):
        (folder / name).mkdir(parents=True)
    spec.write(folder / "spec.json")
    (folder / "events.jsonl").write_text('{"kind": "measure"}\n')
    (folder / "log.txt").write_text("a line\n")
    write_executed(paths.notebook(slug), folder / "executed.ipynb", x)
    failed = state is not State.SUCCEEDED
    failure, message = (Failure.ERROR, "ValueError: no luck") if failed else (None, "")
    if not failed:
        (folder / "figures" / "curve.png").write_bytes(PNG)
        (folder / "tables" / "scores.csv").write_text("a,b\n1,2\n")
        write_json(folder / "evidence.json", EVIDENCE)
    _result(spec, state, failure, message).write(folder / "result.json")
    RunState(
        state=state, failure=failure, message=message, started=STARTED, ended=ENDED, attempts=2
    ).write(folder / "state.json")
    return folder


def _spec(
    slug: str,
    scale: catalog.Scale,
    key: str,
    ingredients: dict[str, str],
    parameters: dict[str, Any],
    sources: dict[str, str],
) -> Spec:
    return Spec(
        slug=slug,
        scale=scale,
        key=key,
        ingredients=ingredients,
        parameters=parameters,
        sources=sources,
        digests={name: "cd" * 32 for name in sources.values()},
        batch="b1",
        notebook=str(paths.notebook(slug)),
        timeout=60.0,
        threads=1,
        device="cpu",
        paper_version=1,
        fingerprint=FINGERPRINT,
    )


def _result(spec: Spec, state: State, failure: Failure | None, message: str) -> Result:
    paper, succeeded = catalog.load(spec.slug), state is State.SUCCEEDED
    return Result(
        slug=spec.slug,
        scale=spec.scale,
        key=spec.key,
        paper_version=1,
        outcome=state,
        failure=failure,
        message=message,
        parameters=spec.parameters,
        sources=spec.sources,
        digests=spec.digests,
        device="cpu",
        fingerprint=spec.fingerprint,
        evidence=EVIDENCE if succeeded else {},
        rules=paper.rules_digest,
        claims=paper.judge(spec.scale, EVIDENCE) if succeeded else [],
        checks=[],
        figures=[{"name": "curve", "file": "figures/curve.png", "caption": "A curve"}],
        tables=[],
        models=[],
        started=STARTED,
        seconds=60.25,
        cells=[],
    )


def write_executed(notebook: Path, executed: Path, x: int) -> None:
    """Write what papermill leaves: a cell of parameters, outputs, timings, states."""
    content = json.loads(notebook.read_text())
    content["metadata"]["papermill"] = {"duration": 1.5}
    for cell in content["cells"]:
        cell["metadata"] |= {
            "papermill": {"status": "completed"},
            "tags": cell["metadata"].get("tags", []),
        }
        if cell["cell_type"] == "code":
            cell |= {"execution_count": 1, "outputs": [{"output_type": "stream", "text": "hi"}]}
    tags = {"tags": ["injected-parameters"]}
    injected = {"cell_type": "code", "id": "p", "metadata": tags, "source": f"x = {x}"}
    content["cells"].insert(1, {**injected, "outputs": [], "execution_count": 1})
    executed.write_text(json.dumps(content))


def write_reference(slug: str) -> Path:
    """Put the committed reference of a paper into a run folder, as its run once left it."""
    path = paths.home() / "runs" / "reference" / f"{slug}.small.json"
    result: Result = Result.read(path)
    cells = keys.code_cells(paths.notebook(slug))
    ingredients = {"notebook": keys.notebook_digest(cells), "device": result.device}
    spec = _spec(slug, "small", result.key, ingredients, dict(result.parameters), result.sources)
    spec = spec.model_copy(update={"digests": result.digests, "fingerprint": result.fingerprint})
    folder = paths.runs() / "out" / slug / result.key[:16]
    folder.mkdir(parents=True)
    spec.write(folder / "spec.json")
    shutil.copy(path, folder / "result.json")
    write_json(folder / "evidence.json", result.evidence)
    return folder


def write_batch(folders: Mapping[str, Path], cached: str = "") -> Batch:
    """Write the records of a batch that is over: a run a folder, by label."""
    runs = []
    for label, folder in folders.items():
        spec: Spec = Spec.read(folder / "spec.json")
        runs.append(
            BatchRun(
                slug=spec.slug,
                scale=spec.scale,
                key=spec.key,
                folder=folder.relative_to(paths.runs()).as_posix(),
                label=label,
                cached=label == cached,
            )
        )
    batch = Batch(id="20251009T0850-1", name="night", created=STARTED - 5, host="here", runs=runs)
    batches.folder(batch.id).mkdir(parents=True)
    batch.write(batches.folder(batch.id) / "batch.json")
    for run in runs:
        state = None if run.cached else RunState.read(batches.run_folder(run) / "state.json")
        batches.keep(batch.id, run, state)
    return batch


def three_runs(house: House) -> Batch:
    """Write a batch of three runs: one succeeded, one failed, one taken from the cache."""
    for slug in ("toy-paper", "other-paper"):
        house.paper(slug, ["run.verdicts()"])
    folders = {
        "toy-paper x=1": write_run("toy-paper"),
        "toy-paper x=2": write_run("toy-paper", x=2, state=State.FAILED),
        "other-paper": write_run("other-paper"),
    }
    return write_batch(folders, cached="other-paper")


# Terms of RO-Crate 1.1: one that only a later version has must not make a crate look valid.
_TERMS = """
CreateAction ControlAction OrganizeAction HowTo HowToStep PropertyValue File Dataset
CreativeWork ScholarlyArticle SoftwareApplication SoftwareSourceCode ComputerLanguage about
abstract actionStatus additionalType agent alternateName citation conformsTo contentSize
datePublished defaultValue description encodingFormat endTime error exampleOfWork hasPart
identifier instrument keywords license mainEntity maxValue mentions minValue multipleValues name
object position programmingLanguage result softwareRequirements softwareVersion startTime step
unitText url value version workExample
"""
# The context of RO-Crate 1.3, which comes with `rocrate`, gives the terms above the same meaning
# as that of 1.1; these four are the ones that it renamed.
_RENAMED = {
    "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
    "FormalParameter": "https://bioschemas.org/FormalParameter",
    "input": "https://bioschemas.org/ComputationalWorkflow#input",
    "output": "https://bioschemas.org/ComputationalWorkflow#output",
}
CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": {
        **{name: RO_CRATE["@context"][name] for name in _TERMS.split()},
        **_RENAMED,
    },
    "https://w3id.org/ro/terms/workflow-run/context": {
        "sha256": "https://w3id.org/ro/terms/workflow-run#sha256"
    },
}


class Validator:
    """The reference validator, offline: its cache holds the contexts as far as crates use them."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        with CachedSession(str(cache), backend="sqlite", expire_after=-1) as session:
            for address, terms in CONTEXTS.items():
                body = json.dumps({"@context": terms}).encode()
                request = CachedRequest(method="GET", url=address)
                headers = {"Content-Type": "application/ld+json"}
                answer = CachedResponse(
                    status_code=200, url=address, headers=headers, content=body, request=request
                )
                session.cache.save_response(answer)

    def issues(self, crate: Path, profile: str, severity: str = "REQUIRED") -> list[str]:
        """Return what a crate breaks, one line each, and the terms that no context has."""
        settings = {
            "rocrate_uri": str(crate),
            "profile_identifier": profile,
            "requirement_severity": severity,
            "cache_path": self._cache,
            "offline": True,
        }
        result = services.validate(settings)
        return sorted(
            f"{issue.severity.name} {issue.violatingEntity}: {issue.message}"
            for issue in result.get_issues()
        )
