from __future__ import annotations

from router.formats.text import shortened


def test_a_short_list_is_shown_whole() -> None:
    assert shortened([]) == ""
    assert shortened(["a"]) == "a"
    assert shortened(["a", "b", "c"], at_most=3) == "a, b, c"


def test_a_long_list_is_cut_and_the_rest_counted() -> None:
    assert shortened(["a", "b", "c", "d"], at_most=3) == "a, b, c and 1 more"
    assert shortened((str(number) for number in range(9)), at_most=2, separator="; ") == "0; 1 and 7 more"
