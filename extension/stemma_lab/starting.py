"""Runs are planned in a process of their own: it sees the code as it is on the disk now.

A plan hashes the code that a result will depend on and reads the catalog; the server has imported
both long before. ``python -m stemma_lab.starting`` reads a request from its input, starts the run
and answers with its batch. A process of its own for each request, rather than a pool, cannot be
broken by a request before; the runner that it starts is a session of its own and outlives it.
"""

import asyncio
import sys

from pydantic import BaseModel

from stemma import errors, paths
from stemma.batch.manifest import Manifest, Selection
from stemma.batch.records import Batch
from stemma.errors import StemmaError
from stemma_lab.schemas import RunRequest


class _Outcome(BaseModel):
    """What the process answers: the batch, or what was wrong."""

    batch: Batch | None = None
    error: str = ""
    message: str = ""


class Starter:
    """Starts runs, one after another, so that the same run is not started twice."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def start(self, request: RunRequest) -> Batch:
        """Start a run and return its batch; a run that is cached is over already.

        Raises:
            BusyError: the run is going on.
            StemmaError: it cannot be started.
        """
        async with self._turn:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "stemma_lab.starting"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=paths.home(),
            )
            said, complaint = await process.communicate(request.model_dump_json().encode())
        if process.returncode != 0:
            last = complaint.decode(errors="replace").strip().splitlines()[-1:]
            raise StemmaError(f"the run could not be planned: {''.join(last)}")
        return _batch(_Outcome.model_validate_json(said))


def _batch(outcome: _Outcome) -> Batch:
    if outcome.batch is None:
        kind: type[StemmaError] = getattr(errors, outcome.error, StemmaError)
        raise kind(outcome.message)
    return outcome.batch


def main() -> None:
    """Start the run that is asked for on the standard input."""
    from stemma.batch import control

    request = RunRequest.model_validate_json(sys.stdin.buffer.read())
    selection = Selection(papers=[request.slug], scale=request.scale, parameters=request.parameters)
    try:
        outcome = _Outcome(batch=control.launch(Manifest(runs=[selection]), force=request.force))
    except StemmaError as error:
        outcome = _Outcome(error=type(error).__name__, message=str(error))
    print(outcome.model_dump_json())


if __name__ == "__main__":
    main()
