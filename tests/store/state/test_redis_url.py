from __future__ import annotations

import pytest

from router.errors import ConfigurationError
from router.store import open_store
from router.store.state.redis.url import RedisUrl, read_url


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("redis://localhost", RedisUrl((("localhost", 6379),))),
        ("valkey://localhost:7000/3", RedisUrl((("localhost", 7000),), db=3)),
        (
            "redis://me:p%40ss@cache.local/0?db=2",
            RedisUrl((("cache.local", 6379),), db=2, username="me", password="p@ss"),
        ),
        ("redis://:word@[::1]:7000", RedisUrl((("::1", 7000),), password="word")),
        ("rediss://cache.local", RedisUrl((("cache.local", 6379),), tls={})),
        (
            "rediss://cache.local?ssl_ca_certs=/ca.pem&ssl_check_hostname=false",
            RedisUrl((("cache.local", 6379),), tls={"ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False}),
        ),
        ("unix:///run/redis.sock?db=1&prefix=blue", RedisUrl(path="/run/redis.sock", db=1, prefix="blue")),
        ("redis+cluster://a:1,b:2", RedisUrl((("a", 1), ("b", 2)), is_cluster=True)),
        ("rediss+cluster://u:p@a", RedisUrl((("a", 6379),), is_cluster=True, username="u", password="p", tls={})),
        ("redis://a?cluster=true", RedisUrl((("a", 6379),), is_cluster=True)),
    ],
)
def test_a_url_names_the_server(url: str, read: RedisUrl) -> None:
    assert read_url(url) == read


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql://localhost/db", 'unknown scheme "postgresql"; use redis://HOST:6379/0'),
        ("redis://", "it names no host"),
        ("redis://localhost:99999", "99999 is no port"),
        ("redis://localhost/zero", '"zero" is no number of a database'),
        ("redis://a,b", "several hosts are those of a cluster; use redis\\+cluster://"),
        ("redis+cluster://a/1", "a cluster has no database but 0"),
        ("redis://a?prefx=blue", 'unknown option "prefx"; did you mean "prefix"?'),
        ("redis://a?prefix=a{b", "prefix: up to 40 letters"),
        ("redis://a?ssl_ca_certs=/ca.pem", "ssl_ca_certs needs TLS; use rediss://"),
        ("redis://a?cluster=perhaps", "cluster: true or false"),
        ("unix://", "it names no socket"),
        ("unix://host/socket", "it names no socket"),
    ],
)
def test_a_wrong_url_is_an_error_that_says_what_is_meant(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem.replace("?", r"\?")):
        open_store("store", state=url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:SECRET@localhost/zero",
        "redis://me:SECRET/SECRET@localhost/0",
        "redis://me:SECRET@SECRET/SECRET@localhost/0",
        "redis://me:SECRET?SECRET@localhost/0",
        "redis://me:SECRET#SECRET@localhost/0",
        "redis://me:SECRET[SECRET@localhost/0",
        "redis://me:SECRET\u2100@localhost/0",
        "other://me:SECRET/SECRET@localhost/0",
    ],
)
def test_an_error_does_not_quote_the_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        read_url(url)
    assert "SECRET" not in str(error.value)
    assert "://…@localhost/" in str(error.value)
