"""Virtual keys: what clients of the gateway show, kept in `keys.yaml` as hashes only.

A key is `pv-` and 32 random bytes. Nobody guesses those, so a plain SHA-256 is enough: slow hashes with salt protect
passwords, which people choose, and would cost every request some hundred milliseconds. It is always the whole key that
is hashed and looked up.
"""

from __future__ import annotations

import datetime
import fnmatch
import functools
import hashlib
import hmac
import logging
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from router.cards.catalog import Catalog
from router.decide.model_name import DEFAULT_POLICY
from router.decide.policy import Policies
from router.errors import ConfigurationError, FileError, InvalidKeyError, did_you_mean
from router.formats.quantities import Day, Dollars, quantity_schema, read_quantity
from router.formats.yaml_file import convert, read_yaml

_LOG = logging.getLogger(__name__)
PREFIX = "pv-"
_RANDOM_BYTES = 32
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_IN_CLEAR = re.compile(rb"pv-[A-Za-z0-9_-]{20,}")
_LONGEST = 1024

KeyId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]
Pattern = Annotated[str, Meta(min_length=1, max_length=200)]


class Key(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one key may do.

    `cards` and `policies` are ids, or patterns such as `llama-*`; a missing list allows all, an empty one none.
    `policy` is what the model name `auto` stands for; without it, the policy `default`. `rpm`: requests a minute.
    `budget_usd_per_day`: what requests may cost a day, in UTC. From the beginning of the days `expires` and `revoked`
    (UTC) the key opens nothing.
    """

    id: KeyId
    hash: Annotated[str, Meta(description="sha256: and 64 hexadecimal digits; `route keys add` makes it.")]
    description: Annotated[str, Meta(max_length=500)] | None = None
    created: Day | None = None
    expires: Day | None = None
    revoked: Day | None = None
    cards: tuple[Pattern, ...] | None = None
    policies: tuple[Pattern, ...] | None = None
    policy: Annotated[str, Meta(min_length=1)] | None = None
    rpm: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    budget_usd_per_day: Dollars | None = None

    def allows_card(self, card: str) -> bool:
        """Whether the card with this id may answer this key's requests."""
        return self.cards is None or _matches(self.cards, card)

    def allows_policy(self, policy: str) -> bool:
        """Whether this key's requests may be weighed by the policy with this id."""
        return self.policies is None or _matches(self.policies, policy)

    @property
    def default_policy(self) -> str:
        """The id of the policy that `auto` stands for."""
        return self.policy or DEFAULT_POLICY

    def inactive_reason(self, today: datetime.date) -> str | None:
        """Why the key opens nothing on this day (UTC), or None."""
        if self.revoked is not None and self.revoked <= today:
            return f"was revoked on {self.revoked}"
        if self.expires is not None and self.expires <= today:
            return f"expired on {self.expires}"
        return None


class KeysFile(Struct, frozen=True, forbid_unknown_fields=True):
    """What stands in `keys.yaml`."""

    keys: tuple[Key, ...] = ()


class Keys(Sequence[Key]):
    """The keys by what they open, in the order of the file. Where there are none, requests need none."""

    def __init__(self, keys: Iterable[Key] = (), cards: Iterable[str] = ()) -> None:
        """`cards` are the ids of the catalogue, for `denied`."""
        self._keys = tuple(keys)
        self._by_hash = {key.hash: key for key in self._keys}
        self._cards = tuple(cards)
        self._denied: dict[str, Mapping[str, str]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __getitem__(self, index: Any) -> Any:
        return self._keys[index]

    def find(self, presented: str) -> Key | None:
        """The key that was presented, though it may have expired; None where there is no such key."""
        if len(presented) > _LONGEST:
            return None
        digest = hash_of(presented)
        key = self._by_hash.get(digest)
        # The dictionary compares hashes, whose beginnings nobody can choose; the whole one is compared once more.
        return key if key is not None and hmac.compare_digest(key.hash, digest) else None

    def authenticate(self, presented: str | None, today: datetime.date | None = None) -> Key | None:
        """The key that a request runs under; None where there are no keys at all, and whoever reaches the gateway may
        use it. Raises InvalidKeyError.

        `today` is in UTC, and now where it is left out.
        """
        if not self._keys:
            return None
        if presented is None:
            raise InvalidKeyError("this gateway needs a key: send it as `Authorization: Bearer …` or `x-api-key`")
        key = self.find(presented)
        if key is None:
            raise InvalidKeyError("there is no such key; ask whoever runs this gateway for one")
        closed = key.inactive_reason(today or datetime.datetime.now(datetime.UTC).date())
        if closed is not None:
            raise InvalidKeyError(f'the key "{key.id}" {closed}; ask whoever runs this gateway for another')
        return key

    def denied(self, key: Key) -> Mapping[str, str]:
        """The ids of the cards that must not answer this key's requests, and why."""
        if key.id not in self._denied:
            reason = f'the key "{key.id}" does not allow it'
            self._denied[key.id] = {card: reason for card in self._cards if not key.allows_card(card)}
        return self._denied[key.id]


def new_key() -> str:
    """A key that nobody has."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def hash_of(presented: str) -> str:
    """What `keys.yaml` holds in place of the key."""
    return f"sha256:{hashlib.sha256(presented.encode('utf-8', 'surrogatepass')).hexdigest()}"


def presented_key(headers: Mapping[str, str]) -> str | None:
    """The key in a request's headers, whose names are in lower case; None where there is none.

    A bearer token stands before an `x-api-key`: clients that send both do so because somebody set a token for the
    gateway beside the vendor's key. Other kinds of `Authorization` belong to somebody else.
    """
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key", "").strip() or None


def load_keys(file: Path, catalog: Catalog | None = None, policies: Policies | None = None) -> Keys:
    """The keys in `file`; none where it does not exist.

    With `catalog` and `policies`, what a key names must be in them; a pattern may match nothing yet. Raises
    ConfigurationError naming file and line of every fault, and never showing a key.
    """
    if not file.exists():
        return Keys()
    _refuse_keys_in_clear(file)
    document, lines = read_yaml(file)
    if document is None:
        return Keys()
    if not isinstance(document, dict):
        raise FileError(str(file), 1, "expected `keys:` and a list of keys")
    if "keys" in document and document["keys"] is None:
        document["keys"] = []
    stated = convert(document, KeysFile, file, lines, read_quantity).keys
    problems = []
    for number, key in enumerate(stated):
        for field, problem in problems_of(key, stated[:number], catalog, policies):
            line = lines.get(("keys", number, field)) or lines.get(("keys", number))
            problems.append(str(FileError(str(file), line, f"{key.id}: {field}: {problem}")))
    if problems:
        raise ConfigurationError("\n".join(problems))
    if file.stat().st_mode & stat.S_IWOTH:
        _LOG.warning("%s: everybody on this machine may write it, and so make keys; chmod o-w it", file)
    return Keys(stated, catalog.ids if catalog is not None else ())


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `keys.yaml`, from which editors complete and check."""
    _, definitions = msgspec.json.schema_components([KeysFile], schema_hook=quantity_schema)
    definitions["Key"]["properties"]["hash"]["pattern"] = f"^{_HASH.pattern}$"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **definitions.pop("KeysFile"),
        "title": "Pulvinar keys.yaml",
        "$defs": definitions,
    }


def problems_of(
    key: Key, earlier: Sequence[Key], catalog: Catalog | None, policies: Policies | None
) -> Iterator[tuple[str, str]]:
    """Each field of `key` that is at fault, and what is wrong with it; `earlier` are the keys that stand before it."""
    if not _HASH.fullmatch(key.hash):
        yield "hash", "must be sha256: and 64 hexadecimal digits in lower case, never the key itself; " + _MEND
    if any(other.id == key.id for other in earlier):
        yield "id", "another key has this id"
    if any(other.hash == key.hash for other in earlier):
        yield "hash", "another key has this hash"
    if key.revoked is not None:
        # Cards and policies may go while the keys that named them stay for the record.
        return
    if not key.allows_policy(key.default_policy):
        named = "" if key.policy else "; name one of the allowed ones with `policy:`"
        yield ("policy" if key.policy else "policies"), f'the key does not allow "{key.default_policy}"{named}'
    if catalog is not None:
        yield from _unknown("cards", "card", key.cards or (), catalog.ids)
    if policies is not None:
        yield from _unknown("policies", "policy", key.policies or (), policies.ids)
        yield from _unknown("policy", "policy", (key.policy,) if key.policy else (), policies.ids)


def _unknown(field: str, kind: str, named: Sequence[str], known: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in named:
        if name not in known and (field == "policy" or not _is_pattern(name)):
            yield field, f'there is no {kind} "{name}"{did_you_mean(name, known)}'


_MEND = "`route keys add` makes a new key, for this one may have been seen"


def _refuse_keys_in_clear(file: Path) -> None:
    """Looks at the bytes, so that a key is found in a comment too, and before any other message could quote it."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise FileError(str(file), None, f"cannot be read: {error.strerror}") from None
    found = _IN_CLEAR.search(raw)
    if found is not None:
        line = raw.count(b"\n", 0, found.start()) + 1
        raise FileError(str(file), line, f"a key stands here in clear; delete it: {_MEND}")


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return _compiled(patterns).match(name) is not None


@functools.lru_cache(maxsize=4096)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    # An id may hold signs that patterns use; it is always allowed as it is written. Without patterns nothing matches.
    either = [form for each in patterns for form in (re.escape(each) + r"\Z", fnmatch.translate(each))]
    return re.compile("|".join(either) or r"(?!)")
