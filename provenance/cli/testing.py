"""``partition`` and ``reshuffle``: from files and names to a result and its evidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from provenance.cli.inputs import read_examples, read_json
from provenance.cli.signing import Answer, Signing, commitment_of, write
from provenance.errors import ProvenanceError
from provenance.evidence import (
    Evidence,
    Subject,
    canonical,
    explain,
)
from provenance.ngrams import NgramIndex
from provenance.partition import partition_test
from provenance.reshuffle import reshuffle_test
from provenance.store import StoredTranscript


@dataclass(frozen=True)
class PartitionRequest(Signing):
    """What the user asked of ``partition``."""

    folder: Path
    text: Path
    name: str | None
    weightings: Sequence[Any]
    n_max: int
    tokenizer: str | None
    permutations: int
    seed: int


@dataclass(frozen=True)
class ReshuffleRequest(Signing):
    """What the user asked of ``reshuffle``."""

    scores: Path
    folder: Path | None


class ReshuffleScores(BaseModel):
    """The JSON file that ``reshuffle`` reads."""

    model_config = ConfigDict(extra="forbid")

    name: str
    sha256: str
    true: float
    reshuffled: list[float]
    seed: int | None = None
    true_order_sha256: str | None = None
    adapted: bool = False


def run_partition(request: PartitionRequest) -> Answer:
    """Index, match, test, sign.

    Raises:
        ProvenanceError: any input that does not fit.
    """
    stored = StoredTranscript.open(request.folder)
    whole = stored.read()
    text = read_examples(request.text, request.tokenizer)
    index = NgramIndex.build(whole.rows, request.n_max)
    options = {
        "weightings": tuple(request.weightings),
        "n_max": request.n_max,
        "permutations": request.permutations,
        "seed": request.seed,
    }
    result = partition_test(whole, text, index=index, **options)  # type: ignore[arg-type]
    name = request.name or request.text.stem
    if request.evidence is not None:
        evidence = Evidence.of_partition(
            result,
            whole,
            text,
            suspect=name,
            commitment=commitment_of(request, request.folder, stored),
            options=options,
            index=index,
        )
        write(evidence, request)
    words = [explain.in_words(name, result.p), f"  {result.summary()}"]
    return words, {"result": canonical.plain(result), "p": result.p}


def run_reshuffle(request: ReshuffleRequest) -> Answer:
    """Test, sign.

    Raises:
        ProvenanceError: any input that does not fit.
    """
    try:
        given = ReshuffleScores.model_validate(read_json(request.scores))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ProvenanceError(f"{request.scores}: {where}: {first['msg']}") from None
    result = reshuffle_test(given.true, given.reshuffled)
    if request.evidence is not None and request.folder is not None:
        stored = StoredTranscript.open(request.folder)
        evidence = Evidence.of_reshuffle(
            result,
            given.true,
            given.reshuffled,
            suspect=Subject(name=given.name, sha256=given.sha256, what="text"),
            commitment=commitment_of(request, request.folder, stored),
            orders_seed=given.seed,
            true_order_sha256=given.true_order_sha256,
            adapted=given.adapted,
        )
        write(evidence, request)
    words = [explain.in_words(given.name, result.p), f"  {result.summary()}"]
    return words, {"result": canonical.plain(result), "p": result.p}
