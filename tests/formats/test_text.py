from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import router
from router.formats.text import late_pattern, shortened


def test_a_short_list_is_shown_whole() -> None:
    assert shortened([]) == ""
    assert shortened(["a"]) == "a"
    assert shortened(["a", "b", "c"], at_most=3) == "a, b, c"


def test_a_long_list_is_cut_and_the_rest_counted() -> None:
    assert shortened(["a", "b", "c", "d"], at_most=3) == "a, b, c and 1 more"
    assert shortened((str(number) for number in range(9)), at_most=2, separator="; ") == "0; 1 and 7 more"


def test_a_late_pattern_does_what_the_compiled_one_does_also_when_it_is_used_again() -> None:
    late = late_pattern(r"(\w)=(\d)", re.IGNORECASE)
    for _ in range(2):
        assert late.sub(r"\2=\1", "a=1 b=2") == "1=a 2=b"
        assert late.findall("a=1 b=2") == [("a", "1"), ("b", "2")]
        assert late.match("none") is None
    assert (late.pattern, late.groups) == (r"(\w)=(\d)", 2)
    assert late_pattern(b"a+").search(b"baa")[0] == b"aa"  # type: ignore[index]


def test_a_late_pattern_that_is_invalid_raises_when_it_is_used() -> None:
    late = late_pattern("(")
    with pytest.raises(re.error):
        late.search("")


def test_every_late_pattern_is_valid() -> None:
    root = Path(router.__file__).parents[1]
    files = [file for file in (root / "router").rglob("*.py") if "late_pattern(" in file.read_text()]
    modules = [importlib.import_module(".".join(file.relative_to(root).with_suffix("").parts)) for file in files]
    late = [value for module in modules for value in vars(module).values() if type(value) is type(late_pattern(""))]
    assert len(late) > 20
    for pattern in late:
        assert isinstance(pattern.groups, int)
