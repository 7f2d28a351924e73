"""What users ask of a runner: small files in the batch's folder, taken once, oldest first."""

import contextlib
import time
import uuid
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from stemma import files


class Request(BaseModel):
    """Cancel or retry runs of a batch by their names; None means all that it applies to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["cancel", "retry"]
    runs: list[str] | None = None


def ask(folder: Path, request: Request) -> None:
    """Leave a request for the runner of the batch of ``folder``."""
    path = folder / "requests" / f"{time.time_ns()}-{uuid.uuid4().hex[:8]}.json"
    path.parent.mkdir(exist_ok=True)
    files.write_json(path, request.model_dump())


def take(folder: Path) -> list[Request]:
    """Return the requests that came in, and remove them; what is no request is dropped."""
    found = []
    for path in sorted((folder / "requests").glob("[0-9]*.json")):
        with contextlib.suppress(ValidationError):
            found.append(Request.model_validate_json(path.read_text(encoding="utf-8")))
        path.unlink(missing_ok=True)
    return found


def pending(folder: Path) -> bool:
    """Return whether a request waits for a runner."""
    return any((folder / "requests").glob("[0-9]*.json"))
