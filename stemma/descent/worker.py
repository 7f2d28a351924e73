"""The process of one test: runs the ``provenance`` command and leaves exactly one result."""

import contextlib
import io
import json
import shlex
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import click

from provenance.cli import main as provenance_commands
from provenance.errors import ProvenanceError
from provenance.evidence import SignedEvidence, explain
from stemma.batch.records import State
from stemma.descent import house
from stemma.descent.records import Begun, Outcome, Request


def main() -> None:
    """Run the test whose folder is the argument; what it says goes to its ``log.txt``."""
    folder = Path(sys.argv[1])
    _run(folder, Begun.read(folder / house.REQUEST).request).write(folder / house.RESULT)


def arguments(request: Request, folder: Path, key: Path) -> list[str]:
    """Return the arguments of the ``provenance`` command that makes the test.

    Every value is joined to its option, so that none can be taken for an option itself.
    """
    options: dict[str, object] = {
        "tokenizer": request.tokenizer,
        "seed": request.seed,
        "evidence": folder / house.EVIDENCE,
        "key": key,
    }
    if request.test == "query":
        options |= {
            "suspect": request.suspect,
            "reference": request.reference,
            "model-name": request.model_name,
            "n": request.budget,
            "stop": request.stop,
            "progress": folder / house.CURVE,
        }
    given = [_option(name, value) for name, value in options.items() if value is not None]
    text = [request.suspect] if request.test == "partition" else []
    return [request.test, *given, "--json", "--", request.transcript, *text]


def _option(name: str, value: object) -> str:
    return f"-{name}{value}" if len(name) == 1 else f"--{name}={value}"


def _run(folder: Path, request: Request) -> Outcome:
    try:
        words = arguments(request, folder, house.signing_key())
        print("$ provenance", shlex.join(words), file=sys.stderr, flush=True)
        answer = _answer(words)
        return Outcome(
            state=State.SUCCEEDED,
            ended=time.time(),
            p_value=_p_value(answer),
            verdict=_verdict(folder),
            caveats=explain.consequences(),
        )
    except click.Abort:
        sys.exit("interrupted")  # whoever did it has said so: no result
    except click.ClickException as error:
        return _failed(error.format_message())
    except (ProvenanceError, OSError) as error:
        return _failed(str(error))
    except Exception as error:
        traceback.print_exc()
        return _failed(f"{type(error).__name__}: {error}")


def _answer(words: list[str]) -> dict[str, Any]:
    """Return what the command prints; the command's own function is called, to see its errors."""
    name, *rest = words
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        provenance_commands.commands[name].main(rest, standalone_mode=False)
    print(printed.getvalue(), file=sys.stderr, flush=True)
    found: dict[str, Any] = json.loads(printed.getvalue())
    return found


def _p_value(answer: dict[str, Any]) -> float:
    """Return the p-value of the only suspect: of a query, of one with ``--stop``, of a text."""
    if "holm" in answer:
        return float(next(iter(answer["holm"].values())))
    return float(answer["p"] if "p" in answer else answer["result"]["p_anytime"])


def _verdict(folder: Path) -> str:
    predicate = SignedEvidence.load(folder / house.EVIDENCE).read()[1]
    return " ".join(explain.conclusion(predicate))


def _failed(message: str) -> Outcome:
    print(message, file=sys.stderr, flush=True)
    line = " ".join(message.split())
    return Outcome(state=State.FAILED, ended=time.time(), message=line)


if __name__ == "__main__":
    main()
