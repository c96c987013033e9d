"""The client's address, as the connection or a trusted proxy states it."""

from __future__ import annotations

import pytest

from router.gateway.http.client.address import TrustedProxies


def client_of(peer: str | None, *forwarded: str, trusted: tuple[str, ...] = ("10.0.0.0/8",)) -> str:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    scope = {"client": None if peer is None else (peer, 1234), "headers": headers}
    return TrustedProxies(trusted).client_of(scope)


def test_the_header_of_others_is_ignored() -> None:
    assert client_of("192.0.2.1", "198.51.100.9") == "192.0.2.1"
    assert client_of("10.0.0.1", "198.51.100.9", trusted=()) == "10.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (("198.51.100.9",), "198.51.100.9"),
        # What the client wrote itself stands before what the proxy saw.
        (("1.1.1.1, 198.51.100.9",), "198.51.100.9"),
        (("1.1.1.1", "198.51.100.9, 10.0.0.7"), "198.51.100.9"),
        (("198.51.100.9:4711",), "198.51.100.9"),
        (("[2001:db8::1]:80",), "2001:db8::1"),
        (("2001:db8::1",), "2001:db8::1"),
        (("unknown",), "10.0.0.1"),
        (('1.1.1.1, <script>"\n',), "10.0.0.1"),
        (("",), "10.0.0.1"),
        (("10.0.0.8, 10.0.0.9",), "10.0.0.8"),
    ],
)
def test_the_last_hop_before_the_trusted_proxies_is_the_client(forwarded: tuple[str, ...], client: str) -> None:
    assert client_of("10.0.0.1", *forwarded) == client


def test_a_proxy_at_the_unix_socket_is_trusted_where_it_is_named() -> None:
    assert client_of(None, "198.51.100.9", trusted=("unix",)) == "198.51.100.9"
    assert client_of(None, "198.51.100.9") == "unix"


def test_an_address_of_ipv4_at_a_socket_for_both_kinds_is_that_of_ipv4() -> None:
    assert client_of("::ffff:10.0.0.1", "198.51.100.9") == "198.51.100.9"
    assert client_of("::ffff:192.0.2.1", "198.51.100.9") == "192.0.2.1"


def test_a_name_that_is_no_network_is_an_error() -> None:
    with pytest.raises(ValueError, match="is no address"):
        TrustedProxies(("proxy.example",))
