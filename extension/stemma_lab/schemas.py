"""What the server part and the lab tell each other; mirrors ``extension/src/api.ts``.

Times are seconds since the epoch.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from stemma.batch.records import Failure, State
from stemma.catalog import ParameterType, Scale, Slug, Value
from stemma.claims import Verdict

EVENT_SCHEMA = "urn:stemma:activity:v1"


class Answer(BaseModel):
    """What the server part says."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class Asked(BaseModel):
    """What the lab asks; whatever is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ScaleResult(Answer):
    """How many claims of a result have each verdict; at smoke none is drawn."""

    scale: Scale
    verdicts: dict[Verdict, int]
    origin: str


class PaperRow(Answer):
    """A paper as the list shows it."""

    slug: str
    number: int
    title: str
    year: int
    arxiv: str
    tags: list[str]
    summary: str
    status: Literal["planned", "ready"]
    results: list[ScaleResult]


class Parameter(Answer):
    """A parameter, with its default at each scale."""

    name: str
    type: ParameterType
    defaults: dict[Scale, Value]
    help: str
    unit: str | None
    minimum: float | None
    maximum: float | None
    choices: list[bool | int | float | str] | None


class Bar(Answer):
    """One cell of a claim drawn: positions in a drawing of ``bars.WIDTH`` by ``bars.HEIGHT``."""

    estimate: float
    low: float | None
    high: float | None
    marks: list[float]
    claimed: tuple[float, float]
    open_low: bool
    open_high: bool
    text: str


class Cell(Answer):
    """One cell of a claim: estimate and interval in words, and drawn."""

    cell: str
    text: str
    how: str
    verdict: Verdict
    bar: Bar | None


class Claim(Answer):
    """A claim; its verdict is None until a run has judged it."""

    id: str
    statement: str
    paper_value: str
    unit: str
    where: str
    statistic: str
    verdict: Verdict | None
    reason: str
    cells: list[Cell]


class Note(Answer):
    """A numbered deviation or defect."""

    id: str
    text: str


class Figure(Answer):
    """A figure; ``url`` is the end point of its picture, None if only the caption was kept."""

    name: str
    caption: str
    url: str | None


class ResultView(Answer):
    """A result with its claims.

    Attributes:
        source: origin, date, commit, device and minutes, in words.
        notebook: path of the executed notebook for the file browser; None outside its root.
        mlflow: what follows the address of the MLflow server; None if it is not tracked.
    """

    scale: Scale
    source: str
    parameters: dict[str, Value]
    claims: list[Claim]
    figures: list[Figure]
    notebook: str | None
    mlflow: str | None


class PaperPage(PaperRow):
    """A paper as its page shows it."""

    version: int
    code: str | None
    parameters: list[Parameter]
    claims: list[Claim]
    untested: dict[Scale, dict[str, str]]
    deviations: list[Note]
    defects: list[Note]
    timeout: dict[Scale, int]
    latest: list[ResultView]


class Progress(Answer):
    """How far a running notebook is; see ``stemma.batch.progress``."""

    cell: int
    cells: int
    heading: str
    done: int
    total: int


class Run(Answer):
    """A run of a batch; ``id`` is ``<batch>/<name>``."""

    id: str
    batch: str
    batch_name: str
    slug: str
    scale: Scale
    label: str
    state: State
    failure: Failure | None
    message: str
    created: float
    started: float | None
    ended: float | None
    attempts: int
    cached: bool
    progress: Progress | None


class RunDetail(Run):
    """A run with what it was given and what it found."""

    parameters: dict[str, Value]
    result: ResultView | None


class Log(Answer):
    """A part of a run's log; ``offset`` is where the next call goes on, bytes."""

    text: str
    offset: int
    over: bool


class Check(Answer):
    """What is wrong with a request, by the parameter's name, ``scale`` or ``slug``."""

    errors: dict[str, str]


class Mlflow(Answer):
    """Where the runs are tracked; without ``url``, ``message`` says why."""

    url: str | None
    own: bool
    message: str


class Papers(Answer):
    """All papers."""

    papers: list[PaperRow]


class Runs(Answer):
    """Runs, the newest batch first."""

    runs: list[Run]


class Draft(Answer):
    """Where a notebook is, for the file browser."""

    path: str


class Done(Answer):
    """Nothing more to say."""


class RunBody(Asked):
    """A scale and values of parameters, for the paper that the address names."""

    scale: Scale
    parameters: dict[str, Value] = Field(default={}, max_length=1000)
    force: bool = False


class RunRequest(RunBody):
    """A run that is asked for; with ``force`` also if its result is there already."""

    slug: Annotated[Slug, Field(max_length=100)]


class RunActivity(Answer):
    """The state or the progress of a run changed."""

    kind: Literal["run"] = "run"
    run: Run
