"""The form in the side bar and the catalog agree on what a parameter may be.

The table is the one that the form's own tests read.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from stemma.catalog import Parameter

_PAGE = Path(__file__).parents[1] / "extension" / "src" / "page"
_CASES = json.loads((_PAGE / "__tests__" / "parameterCases.json").read_text())
_DEFAULTS = {"bool": True, "int": 1, "float": 1.0, "str": "x"}


def _parameter(case: dict[str, Any]) -> Parameter:
    limits = {k: case[k] for k in ("minimum", "maximum", "choices") if k in case}
    default = _DEFAULTS.get(case["type"], [])
    first = limits.get("choices", [limits.get("maximum", limits.get("minimum", default))])[0]
    value = default if isinstance(default, list) else type(default)(first)
    return Parameter(name="p", type=case["type"], default=value, help="h", **limits)


@pytest.mark.parametrize("case", [c for c in _CASES if "value" in c], ids=lambda c: c["text"])
def test_the_catalog_takes_what_the_form_sends(case: dict[str, Any]) -> None:
    parameter = _parameter(case)
    assert parameter.check(case["value"]) == case["value"]
    assert parameter.parse(case["text"]) == case["value"]


@pytest.mark.parametrize("case", [c for c in _CASES if "error" in c], ids=lambda c: c["text"])
def test_the_catalog_refuses_with_the_same_words(case: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(case['error'])}$"):
        _parameter(case).parse(case["text"])
