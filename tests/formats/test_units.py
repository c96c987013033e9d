from __future__ import annotations

import contextlib
import datetime
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.formats import units

READERS: tuple[Callable[[Any], Any], ...] = (
    units.parameters,
    units.tokens,
    units.milliseconds,
    units.days,
    units.usd,
    units.fraction,
    units.date,
)


@pytest.mark.parametrize(
    ("reader", "written", "number"),
    [
        (units.parameters, "7B", 7e9),
        (units.parameters, "7b", 7e9),
        (units.parameters, "350M", 350e6),
        (units.parameters, "1.1T", 1.1e12),
        (units.parameters, " 8.03 B ", 8.03e9),
        (units.parameters, ".5B", 5e8),
        (units.parameters, "1e3M", 1e9),
        (units.parameters, "7_000M", 7e9),
        (units.tokens, "128k", 128_000),
        (units.tokens, "1M", 1_000_000),
        (units.tokens, 8192, 8192),
        (units.tokens, "8192", 8192),
        (units.tokens, "0.5k", 500),
        (units.milliseconds, "250ms", 250.0),
        (units.milliseconds, "1.5s", 1500.0),
        (units.milliseconds, "2min", 120_000.0),
        (units.milliseconds, "15us", 0.015),
        (units.milliseconds, "15µs", 0.015),
        (units.days, "180d", 180.0),
        (units.days, "2w", 14.0),
        (units.days, "1y", 365.25),
        (units.usd, "0.15$", 0.15),
        (units.usd, "$0.15", 0.15),
        (units.usd, "0.15 USD", 0.15),
        (units.usd, "0.15", 0.15),
        (units.usd, 2, 2.0),
        (units.fraction, "0.8", 0.8),
        (units.fraction, "7%", 0.07),
        (units.fraction, 1, 1.0),
        (units.date, "2025-03-14", datetime.date(2025, 3, 14)),
        (units.date, "2025-3", datetime.date(2025, 3, 1)),
        (units.date, 2025, datetime.date(2025, 1, 1)),
    ],
)
def test_a_quantity_is_read_with_its_unit(reader: Callable[[Any], Any], written: Any, number: Any) -> None:
    assert reader(written) == number


@pytest.mark.parametrize("reader", [units.parameters, units.milliseconds, units.days, units.usd, units.fraction])
def test_zero_needs_no_unit(reader: Callable[[Any], float]) -> None:
    assert reader("0") == reader(0) == 0


@pytest.mark.parametrize(
    ("reader", "written", "expected"),
    [
        (units.parameters, "7", "a size such as 7B or 350M, got '7' (no unit)"),
        (units.parameters, 7, "got 7 (no unit)"),
        (units.parameters, "7GB", "got '7GB' (unit 'GB')"),
        (units.parameters, "0GB", "got '0GB' (unit 'GB')"),
        (units.parameters, "seven", "a size such as 7B or 350M, got 'seven'"),
        (units.parameters, "", "got ''"),
        (units.parameters, "B", "got 'B'"),
        (units.parameters, "-7B", "got '-7B'"),
        (units.parameters, "7B B", "(unit 'B B')"),
        (units.parameters, "٧B", "got '٧B'"),
        (units.parameters, True, "got true"),
        (units.parameters, "1e999B", "got '1e999B'"),
        (units.parameters, "1e308B", "got '1e308B'"),
        (units.tokens, "1e308M", "a number of tokens such as 128k or 8192"),
        (units.tokens, 10**350, "a number of tokens such as 128k or 8192"),
        (units.tokens, "1.5", "a whole number of tokens, got '1.5'"),
        (units.tokens, 0, "a whole number of tokens, got 0"),
        (units.tokens, "128K tokens", "unit 'K tokens'"),
        (units.milliseconds, "250", "a duration such as 250ms or 1.5s"),
        (units.milliseconds, float("nan"), "a duration such as 250ms or 1.5s"),
        (units.milliseconds, float("inf"), "a duration such as 250ms or 1.5s"),
        (units.days, "2025", "an age such as 180d, 6mo or 1y"),
        (units.usd, "0.15€", "an amount in US dollars such as 0.15$"),
        (units.usd, "1e-9999999999999999999$ x", "an amount in US dollars such as 0.15$"),
        (units.fraction, "80", "a share between 0 and 1, got '80'"),
        (units.fraction, "101%", "a share between 0 and 1"),
        (units.date, "03/14/2025", "a date such as 2025-03 or 2025-03-14"),
        (units.date, "2025-02-30", "got '2025-02-30': day is out of range"),
        (units.date, "0000", "a date such as 2025-03"),
        (units.date, 2025.0, "a date such as 2025-03"),
    ],
)
def test_an_error_states_what_was_expected(reader: Callable[[Any], Any], written: Any, expected: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        reader(written)
    assert expected in str(caught.value)


@pytest.mark.parametrize("reader", READERS)
@given(text=st.one_of(st.text(max_size=20), st.from_regex(r"\A-?[0-9]{1,5}(\.[0-9]+)?(e-?[0-9]{1,9})?[kMBT$%dsm]?\Z")))
def test_a_reader_returns_a_number_or_raises_value_error_for_any_text(reader: Callable[[Any], Any], text: str) -> None:
    number = 0.0
    with contextlib.suppress(ValueError):
        number = reader(text)
    assert isinstance(number, datetime.date) or math.isfinite(number)


def test_the_same_size_in_two_units_is_the_same_number() -> None:
    assert units.parameters("8.03B") == units.parameters("8030M") == 8_030_000_000


@given(st.integers(1, 10**13))
def test_a_written_size_is_read_back_exactly(count: int) -> None:
    assert units.parameters(units.write_parameters(count)) == count


@given(st.integers(1, 10**9))
def test_shown_tokens_are_read_back_exactly(count: int) -> None:
    assert units.tokens(units.show_tokens(count)) == count


@given(st.floats(0, 1e9))
def test_written_dollars_and_milliseconds_are_read_back_exactly(amount: float) -> None:
    assert units.usd(units.write_usd(amount)) == amount
    assert units.milliseconds(units.write_milliseconds(amount)) == amount


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (units.show_parameters(7e9), "7B"),
        (units.show_parameters(46.7e9), "46.7B"),
        (units.show_parameters(999.99e9), "1T"),
        (units.show_parameters(7241.6e6), "7.242B"),
        (units.show_parameters(0), "0"),
        (units.show_tokens(128_000), "128k"),
        (units.show_tokens(8192), "8192"),
        (units.show_tokens(131_072.0), "131072"),
        (units.show_tokens(1_500_000), "1.5M"),
        (units.show_tokens(1_234_567_900), "1234567.9k"),
        (units.show_milliseconds(250), "250ms"),
        (units.show_milliseconds(1500), "1.5s"),
        (units.show_milliseconds(999.9), "1s"),
        (units.show_milliseconds(12_345_678), "12300s"),
        (units.show_milliseconds(0.0001234), "0.000123ms"),
        (units.show_usd(0.00015), "0.00015$"),
        (units.show_usd(0), "0$"),
        (units.show_usd(1e-9), "0.000000001$"),
        (units.show_usd(600), "600$"),
        (units.show_days(180.0), "180d"),
        (units.show_days(1_234_567.0), "1234570d"),
        (units.show_fraction(0.8125), "0.812"),
        (units.show_fraction(1.0), "1"),
        (units.write_parameters(500), "0.5K"),
        (units.write_milliseconds(1234.5), "1.2345s"),
        (units.write_usd(1e-7), "0.0000001$"),
    ],
)
def test_a_number_is_shown_rounded_and_without_an_exponent(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize(
    ("cost_usd", "once", "thousand"),
    [(0.00042, "0.00042$", "0.42$"), (0.0123456, "0.01235$", "12.3$"), (0.00000004, "0.00000004$", "0.00004$")],
)
def test_the_cost_of_a_request_is_shown_with_that_of_a_thousand(cost_usd: float, once: str, thousand: str) -> None:
    assert units.show_usd_per_1000(cost_usd) == thousand
    assert units.show_request_cost(cost_usd) == f"{once} ({thousand} per 1,000 requests)"


def test_a_free_request_is_shown_without_the_cost_of_a_thousand() -> None:
    assert units.show_request_cost(0.0) == "0$"


@pytest.mark.parametrize("seconds", [0.0, 1.2345678, 0.0000004, 0.0000006, 86_400.1234567])
def test_a_measured_duration_is_in_milliseconds_to_the_microsecond(seconds: float) -> None:
    assert units.rounded_ms(seconds) == round(seconds * 1000, 3)
