"""URLs of a Redis or Valkey server, or of a cluster of them."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from msgspec import Struct

from router.errors import ConfigurationError, did_you_mean

_TLS = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
_OPTIONS = {"db", "prefix", "cluster", *_TLS}
_SCHEMES = {"redis": False, "rediss": True, "valkey": False, "valkeys": True}
_CLUSTERS = {f"{scheme}+cluster": tls for scheme, tls in _SCHEMES.items()}
_SOCKETS = frozenset({"unix", "redis+unix", "valkey+unix"})
_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,40}")
_YES, _NO = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})
_PORT = 6379
EXAMPLE = "redis://HOST:6379/0"
_AS_IN_URLS = "`/`, `?`, `#`, `[` and such in a password must be written as in URLs: %2F, %3F, %23, %5B"


class RedisUrl(Struct, frozen=True):
    """Where the state is. `hosts` are names and ports, of which one is enough to find a cluster; empty for the unix
    socket at `path`. The names of all keys begin with `prefix`.
    """

    hosts: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    is_cluster: bool = False
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: dict[str, Any] | None = None
    prefix: str = "pulvinar"


def is_redis_url(url: str) -> bool:
    """Whether the URL has the scheme of a Redis or Valkey server."""
    return url.partition("://")[0].lower() in {*_SCHEMES, *_CLUSTERS, *_SOCKETS}


def read_url(url: str) -> RedisUrl:
    """Read the URL of the shared state: `redis://USER:PASSWORD@HOST:PORT/DB`, `rediss://` for TLS, `unix:///PATH`,
    `redis+cluster://HOST:PORT,HOST:PORT`; options after `?` are db, prefix, cluster=true and ssl_….

    Raises ConfigurationError, which does not quote the password.
    """
    try:
        if not is_redis_url(url):
            named = url.partition("://")[0] if "://" in url else ""
            raise ValueError(f'unknown scheme "{named}"; use {EXAMPLE}, rediss://, redis+cluster:// or unix://')
        parts = _split(url)
        scheme = parts.scheme.lower()
        options = _options(parts.query, scheme)
        credentials, _, hosts = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        is_cluster = scheme in _CLUSTERS or _is_true("cluster", options.get("cluster", "no"))
        tls = {**_SCHEMES, **_CLUSTERS}.get(scheme, False)
        read = RedisUrl(
            hosts=() if scheme in _SOCKETS else _hosts(hosts),
            path=unquote(parts.path) if scheme in _SOCKETS else None,
            is_cluster=is_cluster,
            db=_database(options, "" if scheme in _SOCKETS else parts.path.strip("/")),
            username=unquote(username) or None,
            password=unquote(password) or None,
            tls=_tls(options) if tls else None,
            prefix=options.get("prefix", "pulvinar"),
        )
        _check(read, hosts, options)
    except ValueError as error:
        raise ConfigurationError(f'cannot use the state "{_without_password(url)}": {error}') from None
    return read


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        # The error of the library may quote the password.
        raise ValueError(f"it cannot be read: {_AS_IN_URLS}") from None
    # A password that ends the host too early: what follows must get into no message.
    is_cut = "@" in parts.path and parts.scheme.lower() not in _SOCKETS
    if parts.fragment or is_cut or ("@" in parts.query and "@" not in parts.netloc):
        raise ValueError(_AS_IN_URLS)
    return parts


def _check(url: RedisUrl, hosts: str, options: dict[str, str]) -> None:
    if url.path is not None and (hosts or not url.path.strip("/")):
        raise ValueError("it names no socket; use unix:///PATH")
    if len(url.hosts) > 1 and not url.is_cluster:
        raise ValueError("several hosts are those of a cluster; use redis+cluster://")
    if url.is_cluster and url.db:
        raise ValueError("a cluster has no database but 0; use the option prefix instead")
    if url.is_cluster and url.path is not None:
        raise ValueError("a cluster cannot be reached by a unix socket")
    if not _PREFIX.fullmatch(url.prefix):
        raise ValueError("prefix: up to 40 letters, digits, dots, dashes and underscores")
    if url.tls is None and (unused := _TLS & options.keys()):
        raise ValueError(f"{min(unused)} needs TLS; use rediss://")


def _options(query: str, scheme: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in _OPTIONS:
            raise ValueError(f'unknown option "{name}"{did_you_mean(name, _OPTIONS)}')
    if scheme in _CLUSTERS and options.get("cluster", "yes") in _NO:
        raise ValueError("the scheme says cluster, and the option cluster says no")
    return options


def _hosts(text: str) -> tuple[tuple[str, int], ...]:
    hosts = []
    for part in text.split(","):
        # The brackets of an IPv6 address contain colons.
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(?::(\d{1,5}))?", unquote(part))
        if match is None or not match[1].strip("[]"):
            raise ValueError(f"it names no host; use {EXAMPLE}")
        port = int(match[2] or _PORT)
        if not 0 < port < 65536:
            raise ValueError(f"{port} is no port")
        hosts.append((match[1].strip("[]"), port))
    return tuple(hosts)


def _database(options: dict[str, str], path: str) -> int:
    text = options.get("db", path) or "0"
    if not text.isdecimal():
        raise ValueError(f'"{text}" is no number of a database')
    return int(text)


def _tls(options: dict[str, str]) -> dict[str, Any]:
    tls: dict[str, Any] = {name: options[name] for name in _TLS & options.keys()}
    if "ssl_check_hostname" in tls:
        tls["ssl_check_hostname"] = _is_true("ssl_check_hostname", tls["ssl_check_hostname"])
    if tls.get("ssl_cert_reqs", "required") not in ("required", "optional", "none"):
        raise ValueError("ssl_cert_reqs: required, optional or none")
    return tls


def _is_true(name: str, text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise ValueError(f"{name}: true or false")
    return text.lower() in _YES


def _without_password(url: str) -> str:
    return re.sub(r"://.*@", "://…@", url, flags=re.DOTALL)
