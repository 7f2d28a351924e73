"""Describes a batch: its plan, its runs as the plan's steps, and the runner that worked it off."""

from collections.abc import Sequence
from urllib.parse import quote

from stemma.batch import batches
from stemma.batch.records import Batch, Failure, RunState, State
from stemma.report.crate import entities
from stemma.report.crate.builder import Builder
from stemma.report.crate.entities import Entity, reference
from stemma.report.crate.run import add_action, add_notebook, verdict_table
from stemma.report.crate.sources import Execution


def batch_crate(batch: Batch, executions: Sequence[Execution]) -> Builder:
    """Return the crate of a batch; its plan is the main workflow."""
    # Cached runs ended before the batch began.
    ends = [e.ended for e in executions if e.ended is not None and not e.cached]
    crate = Builder(max([batch.created, *ends]))
    tools = _add_tools(crate, executions)
    steps = [_add_step(crate, i, e, tools) for i, e in enumerate(executions, start=1)]
    plan = _add_plan(crate, batch, list(tools.values()), steps)
    crate.main(plan)
    crate.conforms_to("process", "workflow", "provenance")
    runs = [add_action(crate, e, tools[e.paper.slug]) for e in executions]
    whole = _add_whole(crate, batch, executions, plan)
    controls = [
        _add_control(crate, *triple) for triple in zip(executions, steps, runs, strict=True)
    ]
    engine = _add_engine(crate, batch, executions, controls, whole)
    failed = sum(e.state.state is not State.SUCCEEDED for e in executions)
    cached = sum(e.cached for e in executions)
    crate.title(
        f"Stemma batch {batch.name or batch.id}",
        f"{len(executions)} runs of notebooks that reproduce machine-learning papers:"
        f" {failed} did not succeed, {cached} taken from the cache",
        [whole, engine, *runs],
        "\n\n".join(verdict_table(e) for e in executions),
    )
    return crate


def _add_tools(crate: Builder, executions: Sequence[Execution]) -> dict[str, Entity]:
    """Add the notebook of every paper; all runs of a batch share the notebook of its day."""
    papers = {e.paper.slug: e.paper for e in executions}
    return {
        slug: add_notebook(crate, paper, [e for e in executions if e.paper.slug == slug])
        for slug, paper in papers.items()
    }


def _add_step(
    crate: Builder, position: int, execution: Execution, tools: dict[str, Entity]
) -> Entity:
    step = {
        "@id": f"#step-{execution.name}",
        "@type": "HowToStep",
        "name": execution.label,
        "position": str(position),
        "workExample": tools[execution.paper.slug],
    }
    return crate.add(step)


def _add_plan(crate: Builder, batch: Batch, tools: list[Entity], steps: list[Entity]) -> Entity:
    properties: Entity = {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        "name": f"Plan of batch {batch.id}",
        "description": "The runs of the batch, each with its paper, scale and key",
        "version": str(batch.version),
        "license": reference(entities.LICENCE),
        "programmingLanguage": crate.add(entities.BATCH_PLAN),
        "hasPart": tools,
        "step": steps,
    }
    return crate.file("batch.json", batches.folder(batch.id) / "batch.json", properties)


def _add_whole(
    crate: Builder, batch: Batch, executions: Sequence[Execution], plan: Entity
) -> Entity:
    """Add the execution of the plan as a whole; it failed if any run did."""
    results = [
        crate.file(f"runs/{e.name}/{name}", path, {})
        for e in executions
        for name, path in e.files()
        if name == "result.json"
    ]
    action: Entity = {
        "@id": f"#batch-{quote(batch.id)}",
        "@type": "CreateAction",
        "name": f"Batch {batch.name or batch.id}",
        "description": f"{len(executions)} runs, {batch.jobs} at a time,"
        f" executor {batch.executor.get('kind', 'local')}",
        "identifier": batch.id,
        "instrument": plan,
        "agent": crate.add(entities.stemma(_typical(executions))),
        "result": results,
        **entities.times(batch.created, crate.published),
        **entities.status(_state(executions)),
    }
    return crate.add(action)


def _add_control(crate: Builder, execution: Execution, step: Entity, run: Entity) -> Entity:
    control = {
        "@id": f"#control-{execution.name}",
        "@type": "ControlAction",
        "name": f"{'Cached' if execution.cached else 'Own'} run of {execution.label}",
        "instrument": step,
        "object": run,
        **entities.status(execution.state),
    }
    return crate.add(control)


def _add_engine(
    crate: Builder,
    batch: Batch,
    executions: Sequence[Execution],
    controls: list[Entity],
    whole: Entity,
) -> Entity:
    organize = {
        "@id": f"#runner-{quote(batch.id)}",
        "@type": "OrganizeAction",
        "name": f"Runner of batch {batch.id}",
        "instrument": crate.add(entities.stemma(_typical(executions))),
        "object": controls,
        "result": whole,
        **entities.times(batch.created, crate.published),
    }
    return crate.add(organize)


def _state(executions: Sequence[Execution]) -> RunState:
    failed = [e.label for e in executions if e.state.state is not State.SUCCEEDED]
    if not failed:
        return RunState(state=State.SUCCEEDED)
    message = f"{len(failed)} of {len(executions)} runs did not succeed: {', '.join(failed)}"
    return RunState(state=State.FAILED, failure=Failure.ERROR, message=message)


def _typical(executions: Sequence[Execution]) -> Execution:
    """Return an execution that the batch's own runner started, if there is one."""
    return min(executions, key=lambda e: (e.facts is None, e.cached))
