"""API keys of the gateway's clients, stored in `keys.yaml` as hashes only.

A key is `pv-` and 32 random bytes, which cannot be guessed, so a plain SHA-256 is enough: slow, salted hashes protect
passwords that people choose, and would cost every request some hundred milliseconds. The whole key is always hashed
and looked up.
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
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from router.cards.adapter.serving import KeyId
from router.cards.catalog import Catalog
from router.decide.model_name import DEFAULT_POLICY
from router.decide.policy import Policies
from router.errors import ConfigurationError, FileError, InvalidKeyError, did_you_mean
from router.formats.json_schema import file_schema
from router.formats.quantities import Day, Dollars
from router.formats.yaml.file import convert, read_mapping

_LOG = logging.getLogger(__name__)
PREFIX = "pv-"
_RANDOM_BYTES = 32
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_PLAINTEXT_KEY = re.compile(rb"pv-[A-Za-z0-9_-]{20,}")
_MAX_LENGTH = 1024

Pattern = Annotated[str, Meta(min_length=1, max_length=200)]
# `router.wire.reading.extras.EXTRAS`, and all of them but the ids of others.
Extra = Literal[
    "all",
    "background",
    "beta_features",
    "code_interpreter",
    "computer_use",
    "file_search",
    "image_generation",
    "inference_geo",
    "mcp",
    "other_tools",
    "provider_ids",
    "service_tier",
    "upstream_routing",
    "web_fetch",
    "web_search",
]


class Key(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One API key and its permissions.

    `cards` and `policies` are ids, or patterns such as `llama-*`; a missing list allows all, an empty one none. A key
    with `policies` and without `cards` names no card, and its flags only narrow what its policies choose.
    `policy` is the policy of the model name `auto`; without it, `default`. `rpm`: requests per minute.
    `concurrency`: requests in progress, per worker.
    `budget_usd_per_day`: the cost limit per day, in UTC. `allow` are the extras (`router.wire.reading.extras`) that the
    key may use; without the list, a key without `cards`, `policies` and budget may use all, any other none. An
    `operator` sees and changes what is loaded. The key is inactive from the start of the days `expires` and `revoked`
    (UTC).
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
    concurrency: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    budget_usd_per_day: Dollars | None = None
    allow: tuple[Extra, ...] | None = None
    operator: bool = False

    def allows_card(self, card: str) -> bool:
        """Whether this key's `cards` contain this id. Ask `Keys.allows`, which knows whose the cards are."""
        return self.cards is None or _matches(self.cards, card)

    @property
    def only_narrows(self) -> bool:
        """Whether the key's policies choose, and a request's flags can only narrow their choice."""
        return self.policies is not None and self.cards is None

    def allows_extra(self, extra: str) -> bool:
        """Whether this key's requests may ask for an extra."""
        if self.allow is not None:
            return extra in self.allow or ("all" in self.allow and extra != "provider_ids")
        is_limited = (self.cards, self.policies, self.budget_usd_per_day) != (None, None, None)
        return extra != "provider_ids" and not is_limited

    def allows_policy(self, policy: str) -> bool:
        """Whether this key's requests may use the policy with this id."""
        return self.policies is None or _matches(self.policies, policy)

    @property
    def default_policy(self) -> str:
        """The id of the policy of the model name `auto`."""
        return self.policy or DEFAULT_POLICY

    def inactive_reason(self, today: datetime.date) -> str | None:
        """Why the key is inactive on this day (UTC), or None."""
        if self.revoked is not None and self.revoked <= today:
            return f"was revoked on {self.revoked}"
        if self.expires is not None and self.expires <= today:
            return f"expired on {self.expires}"
        return None


class KeysFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of `keys.yaml`."""

    keys: tuple[Key, ...] = ()


class Keys(Sequence[Key]):
    """The API keys, in the order of the file. Without keys, requests need no authentication.

    `have_limits`: some key has a rate limit or a budget.
    """

    def __init__(
        self, keys: Iterable[Key] = (), cards: Iterable[str] = (), tenants: Mapping[str, str] | None = None
    ) -> None:
        """`cards` are the ids of the catalogue, for `denied`; `tenants` those that exist for one key only, with its
        id.
        """
        self._keys = tuple(keys)
        self._by_hash = {key.hash: key for key in self._keys}
        self.have_limits = any(key.rpm is not None or key.budget_usd_per_day is not None for key in self._keys)
        self._cards = tuple(cards)
        self.tenants: Mapping[str, str] = tenants or {}
        self._denied: dict[str, Mapping[str, str]] = {}
        self._hidden: dict[str, frozenset[str]] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __getitem__(self, index: Any) -> Any:
        return self._keys[index]

    def find(self, presented: str) -> Key | None:
        """Find a key by its value, active or not; None if it is unknown."""
        if len(presented) > _MAX_LENGTH:
            return None
        digest = hash_of(presented)
        key = self._by_hash.get(digest)
        # A client cannot choose the hash that the dictionary compares; the whole hash is compared in constant time.
        return key if key is not None and hmac.compare_digest(key.hash, digest) else None

    def authenticate(self, presented: str | None, today: datetime.date | None = None) -> Key | None:
        """Find the active key of a request; None if the gateway has no keys at all. Raises InvalidKeyError.

        `today` is in UTC; the default is the current day.
        """
        if not self._keys:
            return None
        if presented is None:
            raise InvalidKeyError("API key required: send it as `Authorization: Bearer …`, `x-api-key` or `api-key`")
        key = self.find(presented)
        if key is None:
            raise InvalidKeyError("invalid API key")
        reason = key.inactive_reason(today or datetime.datetime.now(datetime.UTC).date())
        if reason is not None:
            raise InvalidKeyError(f'the key "{key.id}" {reason}; ask the operator of this gateway for a new one')
        return key

    def denied(self, key: Key) -> Mapping[str, str]:
        """The ids of the cards that this key does not allow, with the reason."""
        if key.id not in self._denied:
            reason = f'not allowed by the key "{key.id}"'
            _make_room(self._denied)
            self._denied[key.id] = {card: reason for card in self._cards if not self.allows(key, card)}
        return self._denied[key.id]

    def hidden(self, key: Key | None) -> frozenset[str]:
        """The ids of the cards that do not exist for this key, since they are another's."""
        if key is None or not self.tenants:
            return _NOTHING
        if key.id not in self._hidden:
            _make_room(self._hidden)
            self._hidden[key.id] = frozenset(card for card, tenant in self.tenants.items() if tenant != key.id)
        return self._hidden[key.id]

    def allows(self, key: Key | None, card: str) -> bool:
        """Whether requests of this key (None where there are no keys) may be sent to the card with this id."""
        return key is None or (key.allows_card(card) and self.tenants.get(card, key.id) == key.id)

    def allows_naming(self, key: Key | None, card: str) -> bool:
        """Whether requests of this key may name the card with this id."""
        return self.allows(key, card) and (key is None or not key.only_narrows)

    def nameable(self, key: Key | None, cards: Iterable[str]) -> Iterator[str]:
        """Of these ids, those that requests of this key may name."""
        return (card for card in cards if self.allows_naming(key, card))

    def may_operate(self, key: Key | None) -> bool:
        """Whether requests of this key may see and change what servers have loaded. Where there are no keys, every
        program of this machine may.
        """
        return not self._keys if key is None else key.operator


_NOTHING: frozenset[str] = frozenset()
_MAX_CACHED = 256


def _make_room(cache: dict[str, Any]) -> None:
    if len(cache) >= _MAX_CACHED:
        cache.clear()


NO_KEYS = Keys()


def new_key() -> str:
    """Generate a key."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def hash_of(presented: str) -> str:
    """The hash of a key, as in `keys.yaml`."""
    return f"sha256:{hashlib.sha256(presented.encode('utf-8', 'surrogatepass')).hexdigest()}"


def presented_key(headers: Mapping[str, str]) -> str | None:
    """The key in a request's headers, whose names are in lower case; None if there is none.

    A bearer token takes precedence over `x-api-key` (Anthropic's) and `api-key` (Azure's): clients that send several
    have a token for the gateway beside the vendor's key. Other schemes of `Authorization` are for other servers, such
    as a proxy. A key in the URL is never read, since URLs are logged.
    """
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("x-api-key", "").strip() or headers.get("api-key", "").strip() or None


def load_keys(file: Path, catalog: Catalog | None = None, policies: Policies | None = None) -> Keys:
    """Read the keys in `file`; no keys if it does not exist.

    With `catalog` and `policies`, the ids that a key names must exist in them; a pattern may match nothing yet. Raises
    ConfigurationError naming file and line of every problem, without showing a key.
    """
    if not file.exists():
        return Keys()
    _reject_plaintext_keys(file)
    document, lines = read_mapping(file, "`keys:` and a list of keys", may_be_empty=True)
    if "keys" in document and document["keys"] is None:
        document["keys"] = []
    keys = convert(document, KeysFile, file, lines).keys
    problems = []
    for number, key in enumerate(keys):
        for field, problem in problems_of(key, keys[:number], catalog, policies):
            line = lines.get(("keys", number, field)) or lines.get(("keys", number))
            problems.append(str(FileError(str(file), line, f"{key.id}: {field}: {problem}")))
    if problems:
        raise ConfigurationError("\n".join(problems))
    if file.stat().st_mode & stat.S_IWOTH:
        _LOG.warning("%s: is world-writable, so any user of this machine could add keys; run chmod o-w", file)
    if catalog is None:
        return Keys(keys)
    return Keys(keys, catalog.ids, {card.id: card.tenant for card in catalog if card.tenant is not None})


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `keys.yaml`, for editors."""
    schema = file_schema(KeysFile, "Pulvinar keys.yaml")
    schema["$defs"]["Key"]["properties"]["hash"]["pattern"] = f"^{_HASH.pattern}$"
    return schema


def problems_of(
    key: Key, earlier: Sequence[Key], catalog: Catalog | None, policies: Policies | None
) -> Iterator[tuple[str, str]]:
    """Find the invalid fields of `key`, with the problem of each; `earlier` are the keys before it in the file."""
    if not _HASH.fullmatch(key.hash):
        yield "hash", "must be sha256: and 64 lower-case hexadecimal digits, never the key itself. " + _REPLACE_KEY
    if any(other.id == key.id for other in earlier):
        yield "id", "another key has this id"
    if any(other.hash == key.hash for other in earlier):
        yield "hash", "another key has this hash"
    if key.revoked is not None:
        # A revoked key stays in the file for old records, though its cards and policies may no longer exist.
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


_REPLACE_KEY = "Create a new key with `route keys add`: this one may be compromised"


def _reject_plaintext_keys(file: Path) -> None:
    """Search the raw bytes: comments may contain a key, too, and no other error message may quote it."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise FileError(str(file), None, f"cannot be read: {error.strerror}") from None
    match = _PLAINTEXT_KEY.search(raw)
    if match is not None:
        line = raw.count(b"\n", 0, match.start()) + 1
        raise FileError(str(file), line, f"this line contains a plaintext key; delete it. {_REPLACE_KEY}")


def _is_pattern(name: str) -> bool:
    return any(character in name for character in "*?[")


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return _compiled(patterns).match(name) is not None


@functools.lru_cache(maxsize=4096)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    # An id may contain wildcard characters, so it also matches literally. Without patterns nothing matches.
    alternatives = [form for text in patterns for form in (re.escape(text) + r"\Z", fnmatch.translate(text))]
    return re.compile("|".join(alternatives) or r"(?!)")
