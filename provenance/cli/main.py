"""The commands: what they take and print; their work is done in the modules beside this one."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from provenance.cli.querying import QueryRequest

BAD_INPUT = 2

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path)

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_tokenizer = click.option(
    "--tokenizer", help="Folder, hub id or tokenizer.json: turns texts into token ids."
)
_weights = click.option(
    "--weights",
    help="Weights of the positions: learning rates (.json), or a twin's positions and scores"
    " (.parquet).",
)
_seen = click.option(
    "--seen", multiple=True, help="Root of an order that a reference or the twin has seen."
)
_design = click.option(
    "--design",
    type=click.Choice(["random", "extreme"]),
    default="random",
    show_default=True,
    help="Which positions to ask; extreme: where --weights are largest and smallest.",
)
_permutations = click.option(
    "--permutations",
    type=click.IntRange(1),
    default=9_999,
    show_default=True,
    help="m of the exact p-value, which is never under 1/(m+1).",
)
_seed = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of draw and permutations."
)
_evidence = click.option("--evidence", type=_FILE, help="Write signed evidence to this file.")
_key = click.option("--key", type=_FILE, help="Private key (see keygen) that signs.")
_when = click.option("--committed", metavar="TIME", help="When the commitment was published.")
_where = click.option("--published", metavar="PLACE", help="Where the commitment was published.")


class _Group(click.Group):
    """Prints an error of the input as one line and exits with code 2."""

    def invoke(self, ctx: click.Context) -> object:
        from provenance.errors import ProvenanceError

        try:
            return super().invoke(ctx)
        except ProvenanceError as error:
            click.echo(f"provenance: {' '.join(str(error).split())}", err=True)
            sys.exit(BAD_INPUT)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Test whether a model or a text descends from a training run, and check such a test."""


@main.command()
@click.argument("file", type=_FILE)
@click.option("--out", type=_FOLDER, required=True, help="Folder of the transcript; must be new.")
@click.option("--seed", type=click.IntRange(0), help="Of the order; keep it secret until opened.")
@click.option("--published-layout", is_flag=True, help="FILE has columns index and tokens already.")
@_tokenizer
def record(
    file: Path, out: Path, seed: int | None, published_layout: bool, tokenizer: str | None
) -> None:
    """Draw a uniform training order for FILE (.txt, .jsonl, .parquet) and commit to it.

    Train in this order: order.npy lists the examples of FILE by training position.
    """
    from provenance.cli import ownership

    if published_layout == (seed is not None):
        raise click.UsageError("say --seed to draw an order, or --published-layout to import one")
    if seed is None:
        stored = ownership.import_published(file, out)
    else:
        stored = ownership.draw_order(file, tokenizer, seed, out)
    click.echo(f"{len(stored)} examples in {out}, root {stored.digest}")
    click.echo(f"publish {out / ownership.COMMITMENT} before training starts")
    click.echo(f"keep {out / ownership.SECRET} secret")


@main.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--hide-root", is_flag=True, help="Publish a hash that hides the root until opened.")
@click.option("--out", type=_FILE, help="Write here instead of printing.")
@_key
def commit(folder: Path, hide_root: bool, out: Path | None, key: Path | None) -> None:
    """Print what to publish before training: root or its hash, size, time, seed commitment."""
    import json

    from provenance.cli import ownership

    text = json.dumps(ownership.publishable(folder, hide_root, key), indent=1)
    if out is None:
        click.echo(text)
    else:
        out.write_text(text + "\n")


@main.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option(
    "--suspect",
    "suspects",
    multiple=True,
    required=True,
    help="Model (folder, GGUF, hub id), end point (http...), scores.parquet, or column:NAME.",
)
@click.option(
    "--reference",
    "references",
    multiple=True,
    help="The same kinds; a model that has not seen this order. Several are averaged.",
)
@_seen
@click.option("-n", "n", type=click.IntRange(1), help="Examples to ask; all by default.")
@_weights
@_design
@click.option(
    "--stop",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="P",
    help="Ask one by one and stop at this anytime-valid p-value; -n is then the most to ask.",
)
@click.option(
    "--leave-out",
    metavar="PILOT",
    type=_FILE,
    help="Evidence of a pilot; ask none of its examples.",
)
@click.option("--model-name", help="Name by which an end point knows its model.")
@click.option(
    "--alternative",
    type=click.Choice(["later-is-likelier", "earlier-is-likelier", "two-sided"]),
    default="later-is-likelier",
    show_default=True,
)
@click.option("--disclose-tokens", is_flag=True, help="Show token ids in the evidence.")
@click.option("--open-seed", is_flag=True, help="Open the seed of the order in the evidence.")
@click.option(
    "--progress",
    metavar="FILE",
    type=_FILE,
    help="Write JSON lines {examples, p_value} while asking. Without --stop only the last line is"
    " a result: never end early for what the others say.",
)
@_tokenizer
@_permutations
@_seed
@_evidence
@_key
@_when
@_where
@_json
def query(as_json: bool, **given: Any) -> None:
    """Test models against the transcript in DIR by their likelihoods; several by Holm.

    Fix -n, the reference and all options before you look at any result.
    """
    from provenance.cli import output, querying

    _both_or_none(given)
    request: QueryRequest = querying.QueryRequest(**given)
    words, data = querying.run_query(request)
    output.say(output.with_consequences(words), data, as_json)


@main.command()
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.argument("text", type=_FILE)
@click.option("--name", help="Of the suspect; the file's name by default.")
@click.option(
    "--weighting",
    "weightings",
    multiple=True,
    type=click.Choice(["inverse", "count", "once"]),
    default=("inverse",),
    show_default=True,
    help="How occurrences count; the choice among several is paid for.",
)
@click.option("--n-max", type=click.IntRange(1), default=8, show_default=True)
@_tokenizer
@_permutations
@_seed
@_evidence
@_key
@_when
@_where
@_json
def partition(as_json: bool, **given: Any) -> None:
    """Test TEXT (.txt, .jsonl, .parquet) against the transcript in DIR by shared n-grams."""
    from provenance.cli import output, testing

    _both_or_none(given)
    words, data = testing.run_partition(testing.PartitionRequest(**given))
    output.say(output.with_consequences(words), data, as_json)


@main.command()
@click.argument("scores", type=_FILE)
@click.option("--folder", metavar="DIR", type=_FOLDER, help="The transcript, for evidence.")
@_evidence
@_key
@_when
@_where
@_json
def reshuffle(as_json: bool, **given: Any) -> None:
    """Test a text by re-runs of the last phase.

    SCORES is a JSON file: {"name": ..., "sha256": of the text, "true": score under the true
    order, "reshuffled": [scores of the re-runs], "seed": of their orders, "adapted": false}.
    """
    from provenance.cli import output, testing

    _both_or_none(given)
    if given["evidence"] is not None and given["folder"] is None:
        raise click.UsageError("--evidence needs --folder, the transcript that was committed to")
    words, data = testing.run_reshuffle(testing.ReshuffleRequest(**given))
    output.say(output.with_consequences(words), data, as_json)


@main.command()
@click.argument("pilot", type=_FILE)
@click.option("--folder", metavar="DIR", type=_FOLDER, required=True, help="The transcript.")
@click.option(
    "--p",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=1e-3,
    show_default=True,
    help="Wanted p-value.",
)
@click.option(
    "--power",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.9,
    show_default=True,
    help="Probability of reaching it; 0.5 plans for the median.",
)
@_design
@_weights
@_seen
@_json
def plan(as_json: bool, **given: Any) -> None:
    """Say how many examples to ask, from PILOT: evidence of a query test, or a parquet file.

    The parquet file has columns position and score (the reference's subtracted).
    """
    from provenance.cli import output, querying

    words, data = querying.run_plan(querying.PlanRequest(**given))
    output.say(words, data, as_json)


@main.command()
@click.argument("file", type=_FILE)
@click.option("--key", type=_FILE, help="Public key of whom the evidence should be from.")
@click.option("--transcript", type=_FOLDER, help="The disclosed transcript.")
@_json
def verify(file: Path, key: Path | None, transcript: Path | None, as_json: bool) -> None:
    """Check evidence without the model; exit code 1 if anything in it does not hold."""
    from rich.console import Console

    from provenance.cli import output
    from provenance.evidence import load_public_key
    from provenance.store import StoredTranscript
    from provenance.verify import verify as check

    public = load_public_key(key) if key is not None else None
    whole = StoredTranscript.open(transcript) if transcript is not None else None
    console = Console(stderr=True)
    with console.status("reading") as status:
        report = check(file, public, whole, progress=lambda step: status.update(step))
    output.say([report.text()], report.as_dict(), as_json)
    sys.exit(0 if report.ok else 1)


@main.command()
@click.argument("path", type=_FILE)
def keygen(path: Path) -> None:
    """Write an ed25519 key: PATH to sign with (keep it), PATH.pub to give away."""
    from provenance.evidence import generate_key

    public = generate_key(path)
    click.echo(f"sign with {path} (mode 0600); give away {public}")


def _both_or_none(given: dict[str, Any]) -> None:
    if (given["evidence"] is None) != (given["key"] is None):
        raise click.UsageError("--evidence and --key belong together; `keygen` makes a key")
