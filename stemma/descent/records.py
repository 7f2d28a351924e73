"""What a test's folder stores, and a test as its onlookers see it."""

from typing import Literal, Self

from pydantic import Field, model_validator

from stemma.batch.records import Record, State


class Request(Record):
    """What to test.

    Attributes:
        transcript: folder of the transcript, or a parquet file in the published layout.
        suspect: of a query: folder, hub id or address (http...); of a partition: a text file.
        reference: as the suspect; a model that has not seen the order.
        tokenizer: folder, hub id or ``tokenizer.json``: turns texts into token ids.
        model_name: name by which an end point knows its model.
        budget: the most examples to ask; None for all.
        stop: end at this anytime-valid p-value; None to ask the whole budget.
        seed: of draw and permutations.
    """

    version: Literal[1] = 1
    test: Literal["query", "partition"]
    transcript: str = Field(min_length=1)
    suspect: str = Field(min_length=1)
    reference: str | None = None
    tokenizer: str | None = None
    model_name: str | None = None
    budget: int | None = Field(default=None, ge=1)
    stop: float | None = Field(default=None, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fits_its_test(self) -> Self:
        asks = (self.reference, self.model_name, self.budget, self.stop)
        if self.test == "partition" and any(value is not None for value in asks):
            raise ValueError(
                "a partition asks no model: leave out reference, model name, budget and stop"
            )
        return self


class Outcome(Record):
    """What a test that ended by itself leaves (``result.json``); times since the epoch."""

    version: Literal[1] = 1
    state: Literal[State.SUCCEEDED, State.FAILED]
    message: str = ""
    ended: float
    p_value: float | None = None
    verdict: str | None = None
    caveats: list[str] = Field(default_factory=list)


class Cancellation(Record):
    """Somebody asked the test to end (``cancel.json``)."""

    version: Literal[1] = 1
    time: float


class Begun(Record):
    """The request with the time at which it came (``request.json``)."""

    version: Literal[1] = 1
    started: float
    request: Request


class Point(Record):
    """The p-value of the examples asked so far.

    Without ``stop`` only the last point counts: whoever watches the curve and ends the test when
    it looks good has no p-value. With ``stop`` every point is an anytime-valid p-value.
    """

    examples: int
    p_value: float


class DescentTest(Record):
    """A test and how far it is.

    Attributes:
        message: what went wrong, if anything did.
        curve: the p-value so far, some of its points.
        verdict: what the test found, in plain words.
        caveats: what no such test proves; to stand beside the verdict.
        evidence: the signed evidence, an absolute path; None if there is none.
    """

    id: str
    request: Request
    state: State
    message: str = ""
    started: float
    ended: float | None = None
    curve: list[Point] = Field(default_factory=list)
    p_value: float | None = None
    verdict: str | None = None
    caveats: list[str] = Field(default_factory=list)
    evidence: str | None = None
