"""What Python sends is what TypeScript expects."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from stemma_lab import routes, schemas

API = (Path(__file__).resolve().parents[2] / "src" / "api.ts").read_text(encoding="utf-8")
MIRRORS: dict[str, type[BaseModel]] = {
    "IScaleResult": schemas.ScaleResult,
    "IPaperRow": schemas.PaperRow,
    "IParameter": schemas.Parameter,
    "IBar": schemas.Bar,
    "ICell": schemas.Cell,
    "IClaim": schemas.Claim,
    "INote": schemas.Note,
    "IFigure": schemas.Figure,
    "IResult": schemas.ResultView,
    "IPaper": schemas.PaperPage,
    "IProgress": schemas.Progress,
    "IRun": schemas.Run,
    "IRunDetail": schemas.RunDetail,
    "ILog": schemas.Log,
    "ICheck": schemas.Check,
    "IRunRequest": schemas.RunRequest,
    "IMlflow": schemas.Mlflow,
}
INTERFACE = re.compile(r"export interface (\w+)(?: extends (\w+))? \{\n(.*?)\n\}", re.DOTALL)


def fields(name: str) -> set[str]:
    found = {m[1]: m for m in INTERFACE.finditer(API)}[name]
    own = set(re.findall(r"^  (\w+)\??:", found[3], re.MULTILINE))
    return own | (fields(found[2]) if found[2] else set())


@pytest.mark.parametrize("name", MIRRORS)
def test_fields(name: str) -> None:
    assert set(MIRRORS[name].model_fields) == fields(name)


def test_every_interface_is_mirrored() -> None:
    names = {m[1] for m in INTERFACE.finditer(API)} - {"IStemmaApi"}
    others = {name for name in names if name.startswith(("IProvenance", "IEvidence"))}
    assert names - others == set(MIRRORS)


def test_names_of_the_two_sides() -> None:
    assert f"NAMESPACE = '{routes.NAMESPACE}'" in API
    assert f"EVENT_SCHEMA = '{schemas.EVENT_SCHEMA}'" in API
    states = re.search(r"RunStateName =\n(.*?);", API, re.DOTALL)
    assert states
    assert set(re.findall(r"'(.+?)'", states[1])) == {state.value for state in schemas.State}


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValueError, match="Extra inputs"):
        schemas.RunBody.model_validate({"scale": "smoke", "parameters": {}, "papers": "all"})
