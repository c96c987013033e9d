"""The URL of a PostgreSQL database, checked, and shown without its password."""

from __future__ import annotations

import hashlib
import re
import urllib.parse

from msgspec import Struct

from router.errors import ConfigurationError

EXAMPLE = "postgresql://user@host/database"
_SCHEMES = ("postgresql", "postgres")
_HOST = re.compile(r"(?:\[[^\[\]]+\]|[^\[\]:]+)(?::(?P<port>[^:]*))?")
_PASSWORD = re.compile(r"(?P<before>^[A-Za-z][A-Za-z0-9+.-]*://[^:@]*):.*@", re.DOTALL)


class Address(Struct, frozen=True):
    """Where a database is. `url` may have a password; `shown` has none, and stands for the database in messages.

    `queue` is the name of the folder of the records on their way there: it depends on host, port and database, not on
    who connects.
    """

    url: str
    shown: str
    queue: str

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"

    def scrub(self, text: str) -> str:
        """`text` without the password of the URL."""
        for secret in sorted(_secrets(self.url), key=len, reverse=True):
            text = text.replace(secret, "***")
        return text


def read_address(url: str) -> Address:
    """The address that a URL states. Raises ConfigurationError, without its password, where it is none."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise _error(url, f"it is no URL; use {EXAMPLE}. Records in a folder are chosen with --store")
    if scheme.lower() not in _SCHEMES:
        raise _error(url, f'unknown scheme "{without_password(scheme)}"; use {EXAMPLE}')
    if any(character.isspace() or character == "#" for character in rest):
        raise _error(url, "a blank or `#` in it must be written as %20 or %23, as in URLs")
    place, _, query = rest.partition("?")
    credentials, _, place = place.rpartition("@")
    hosts, _, database = place.partition("/")
    if "/" in credentials:
        raise _error(url, "a `/` in the password must be written as %2F")
    if not database or "/" in database:
        raise _error(url, f"it names no database; use {EXAMPLE}")
    try:
        options = urllib.parse.parse_qs(query, strict_parsing=True) if query else {}
    except ValueError:
        raise _error(url, f"its options cannot be read; use {EXAMPLE}?sslmode=require") from None
    _check_hosts(url, hosts)
    socket = options.get("host", [""])[0]
    user = urllib.parse.unquote(credentials.partition(":")[0])
    shown = f"postgresql://{f'{user}@' if user else ''}{hosts or socket}/{database}"
    same = f"{hosts or socket}/{database}".lower()
    fingerprint = hashlib.blake2b(same.encode(), digest_size=6).hexdigest()
    return Address(url, shown, f"journal-postgresql-{fingerprint}")


def _check_hosts(url: str, hosts: str) -> None:
    """Raise ConfigurationError for what asyncpg would fail on in other ways, or with the password in its message."""
    for host in hosts.split(",") if hosts else ():
        match = _HOST.fullmatch(host)
        if match is None:
            raise _error(url, f"it names no host; use {EXAMPLE}")
        if match["port"] and not (match["port"].isdecimal() and 0 < int(match["port"]) < 65_536):
            raise _error(url, f"{match['port']} is no port")
    try:
        urllib.parse.urlsplit(url)
    except ValueError:
        raise _error(url, "`[`, `]` and such in the password must be written as in URLs: %5B, %5D") from None


def without_password(url: str) -> str:
    """A URL, valid or not, without what may be a password."""
    hidden = _PASSWORD.sub(r"\g<before>:***@", url)
    return re.sub(r"(?i)(password=)[^&]*", r"\1***", hidden)


def _error(url: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f'cannot open the records at "{without_password(url)}": {problem}')


def _secrets(url: str) -> set[str]:
    place, _, query = url.partition("://")[2].partition("?")
    password = place.rpartition("@")[0].partition(":")[2]
    given = [password, *(value for name, value in urllib.parse.parse_qsl(query) if "password" in name)]
    return {form for each in given if each for form in (each, urllib.parse.unquote(each))}
