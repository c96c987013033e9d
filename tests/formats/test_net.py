"""URLs are read by the parser of the HTTP client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.formats.net import host_of, is_loopback, parse_url


@pytest.mark.parametrize(
    "url",
    ["http://localhost", "http://a.localhost:8000/v1", "http://127.9.9.9", "http://[::1]:80/v1", "https://LOCALHOST/"],
)
def test_the_loopback_interface_is_recognised(url: str) -> None:
    assert is_loopback(url)


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "localhost:8000",
        "http://localhost.example.com",
        "http://evil.example\\@localhost/",
        "http://evil.example#@localhost",
        "http://127.0.0.1.example.com",
        "http://[::1",
        "http://127.0.0.1:99999",
    ],
)
def test_other_hosts_and_invalid_urls_are_not_loopback(url: str | None) -> None:
    assert not is_loopback(url)


def test_the_host_is_in_lower_case_and_without_user_and_port() -> None:
    assert host_of("https://user:password@API.openai.com:443/v1") == "api.openai.com"


@pytest.mark.parametrize("url", ["", "a/b", "http://", "http://a..é/v1", "http://[]@"])
def test_a_url_without_a_valid_host_is_not_parsed(url: str) -> None:
    assert parse_url(url) is None


@given(st.text(alphabet="[]@:\\/?#%. \tla1é\ud83d", max_size=12))
def test_any_text_after_the_scheme_is_read_without_an_exception(text: str) -> None:
    is_loopback(f"http://{text}")


def test_a_url_that_is_too_long_is_invalid() -> None:
    assert parse_url("http://a.example/" + "x" * 2_000) is not None
    assert parse_url("http://a.example/" + "x" * 3_000) is None
