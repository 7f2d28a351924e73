"""Describes the execution of a notebook: what it read, what it left, what it found."""

import json
from collections.abc import Iterator, Sequence

from stemma import paths
from stemma.batch.records import Result
from stemma.catalog import Paper
from stemma.claims import Verdict
from stemma.errors import RunError
from stemma.report.crate import entities
from stemma.report.crate.builder import Builder
from stemma.report.crate.entities import Entity, reference
from stemma.report.crate.sources import Execution
from stemma.tables import claims_markdown

_RESULTS = ("executed.ipynb", "result.json", "evidence.json", "log.txt")
_RESULT_FOLDERS = ("figures/", "tables/", "artifacts/")
_TRACES = ("events.jsonl", "log.txt", "result.json", "spec.json", "state.json")

_WHAT = {
    "executed.ipynb": "The notebook with its outputs",
    "result.json": "Evidence, claims with their verdicts, checks, parameters and timings",
    "evidence.json": "The raw numbers that the claims are judged by",
    "events.jsonl": "What happened during the run, one JSON object a line",
    "log.txt": "What the run's processes printed",
    "spec.json": "What was to be run, and the digests of everything that its key is made of",
    "state.json": "How the run ended, as its runner knows it",
}


def run_crate(execution: Execution) -> Builder:
    """Return the crate of one run; its notebook is the main workflow.

    Raises:
        RunError: the notebook that ran is not at hand.
    """
    crate = Builder(execution.ended or 0.0)
    paper = execution.paper
    if execution.notebook() is None:
        commit = execution.fingerprint.get("git_commit") or "of the run"
        raise RunError(
            f"the notebook of {paper.slug} is not the one that ran any more:"
            f" check out commit {commit}, then export again"
        )
    notebook = add_notebook(crate, paper, [execution], ["ComputationalWorkflow"])
    crate.main(notebook)
    crate.conforms_to("process", "workflow")
    crate.title(
        f"{paper.title}: run at scale {execution.scale}",
        f"A run of the notebook that reproduces arXiv:{paper.arxiv}: {_outcome(execution)}",
        [add_action(crate, execution, notebook)],
        verdict_table(execution),
    )
    return crate


def verdict_table(execution: Execution) -> str:
    """Return a heading, how the run ended and the claims with their verdicts, in Markdown."""
    how = f"{_how(execution)}; {execution.state.state.value}"
    lines = [f"## {execution.label}, scale {execution.scale}", how]
    if "error" in (ending := entities.status(execution.state)):
        lines.append("\n".join(f"    {line}" for line in ending["error"].splitlines()))
    if execution.result and execution.result.claims:
        lines.append(claims_markdown(execution.paper, execution.result.claims))
    return "\n\n".join(lines)


def add_notebook(
    crate: Builder, paper: Paper, executions: Sequence[Execution], kinds: Sequence[str] = ()
) -> Entity:
    """Add a paper's notebook with its slots, its article and the software that it needs.

    Args:
        crate: where to.
        paper: the paper.
        executions: the runs of the notebook that the crate describes.
        kinds: types that the notebook has besides being source code in a file.
    """
    article = crate.cite(entities.article(paper))
    name = f"notebooks/{paper.slug}.ipynb"
    description = f"Reproduces {paper.title}: {paper.summary}"
    needs = {need["@id"]: need for e in executions for need in entities.software(e)}
    properties: Entity = {
        "name": f"Notebook of {paper.slug}",
        "version": str(paper.version),
        "license": reference(entities.LICENCE),
        "citation": article,
        "programmingLanguage": crate.add(entities.JUPYTER),
        "input": crate.add_all(entities.formal_parameters(paper)),
        "softwareRequirements": crate.add_all(needs.values()),
    }
    yaml = paths.papers() / paper.slug.replace("-", "_") / "paper.yaml"
    what = "Claims with their rules, parameters, deviations, defects; as of this export"
    crate.file(f"papers/{paper.slug}.yaml", yaml, {"description": what, "about": article})
    content = next((found for e in executions if (found := e.notebook()) is not None), None)
    if content is None:
        properties["description"] = f"{description}; the file that ran, {name}, is not at hand"
        return crate.add({"@id": f"#{name}", "@type": "SoftwareSourceCode", **properties})
    properties |= {"@type": ["File", "SoftwareSourceCode", *kinds], "description": description}
    return crate.file(name, content, properties)


def add_action(crate: Builder, execution: Execution, notebook: Entity) -> Entity:
    """Add the execution of a notebook with everything that it read and left."""
    action: Entity = {
        "@id": f"#run-{execution.name}",
        "@type": "CreateAction",
        "name": f"Run of {execution.label} at scale {execution.scale}",
        "description": f"{_how(execution)}; {_outcome(execution)}",
        "identifier": execution.key,
        "instrument": notebook,
        "agent": crate.add(entities.stemma(execution)),
        "object": _inputs(crate, execution),
        "result": [*_files(crate, execution), *crate.add_all(entities.verdicts(execution))],
        **entities.times(execution.started, execution.ended),
        **entities.status(execution.state),
    }
    return crate.add(action)


def _inputs(crate: Builder, execution: Execution) -> list[Entity]:
    """Add what the run's key is made of: parameters, data, device, code, pinned versions."""
    inputs = crate.add_all(entities.parameter_values(execution))
    inputs += crate.add_all(entities.data_sources(execution))
    inputs += crate.add_all(entities.machine(execution))
    modules = crate.add_all(entities.modules(execution))
    if modules:
        code = {
            "@id": f"#{execution.name}-modules",
            "@type": "CreativeWork",
            "name": "Modules of the project that the notebook imports",
            "hasPart": modules,
        }
        inputs.append(crate.add(code))
    pinned = execution.constraints()
    if pinned is not None:
        what = "Pinned versions of the environment's packages"
        inputs.append(crate.file("constraints.txt", pinned, {"description": what}))
    return inputs


def _files(crate: Builder, execution: Execution) -> Iterator[Entity]:
    """Add what the run left and yield its results; the rest are traces of the engine."""
    descriptions = {**_WHAT, **_captions(execution.result)}
    for name, path in execution.files():
        properties: Entity = {}
        if name in descriptions:
            properties["description"] = descriptions[name]
        if name in _TRACES:
            properties["about"] = {"@id": f"#run-{execution.name}"}
        if name == "result.json":
            properties["conformsTo"] = _schema(crate)
        added = crate.file(f"runs/{execution.name}/{name}", path, properties)
        if name in _RESULTS or name.startswith(_RESULT_FOLDERS):
            yield added


def _schema(crate: Builder) -> Entity:
    schema = json.dumps(Result.model_json_schema(), indent=1, sort_keys=True) + "\n"
    what = "JSON Schema of result.json, version 1"
    return crate.file("result.schema.json", schema.encode(), {"description": what})


def _captions(result: Result | None) -> dict[str, str]:
    shown = [*result.figures, *result.tables] if result else []
    return {item["file"]: item["caption"] for item in shown}


def _outcome(execution: Execution) -> str:
    """Return how the run ended and which claims have which verdict."""
    claims = execution.result.claims if execution.result else []
    words = [execution.state.state.value]
    for verdict in Verdict:
        names = [c.claim for c in claims if c.verdict is verdict]
        words += [f"{verdict.value}: {', '.join(names)}"] if names else []
    return "; ".join(words)


def _how(execution: Execution) -> str:
    words = [f"papermill executes notebooks/{execution.paper.slug}.ipynb"]
    if execution.facts is not None:
        words[0] += f" on {execution.facts.device}"
    if execution.state.attempts > 1:
        words.append(f"attempt {execution.state.attempts}")
    if execution.cached:
        words.append("run by an earlier batch and taken from the cache")
    if execution.started is None:
        words.append("it never started")
    elif execution.folder is None:
        words.append("its folder is gone or holds a later run: only the result is here")
    return "; ".join(words)
