from __future__ import annotations

import json
import math

import pytest

from router.formats.json import json_bytes


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("text", ["a", "\ud83d"])
def test_a_number_that_is_not_finite_is_null_beside_any_text(number: float, text: str) -> None:
    written = json_bytes({"a": text, "b": number, "c": [number, {"d": number}, (number,)], "e": 0.5})

    def reject(name: str) -> None:
        pytest.fail(f"{name} is not JSON")

    assert json.loads(written, parse_constant=reject) == {
        "a": text,
        "b": None,
        "c": [None, {"d": None}, [None]],
        "e": 0.5,
    }
