from __future__ import annotations

import datetime
import logging
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cards import Card, Catalog
from router.decide.policy import Policies, Policy
from router.errors import ConfigurationError, InvalidKeyError
from router.formats.quantities import Day
from router.gateway.config.keys import Key, Keys, hash_of, json_schema, load_keys, new_key, presented_key

CATALOG = Catalog([Card(id=id_, provider="openai", model=id_) for id_ in ("gpt-4o", "llama-70b", "llama-8b")])
POLICIES = Policies([Policy(id=id_, description="For tests.") for id_ in ("default", "best", "cheap")])
TODAY = datetime.date(2026, 11, 23)
SECRET = "pv-" + "s" * 43
HASH = hash_of(SECRET)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.yaml"


def load(file: Path, text: str) -> Keys:
    file.write_text(text)
    return load_keys(file, CATALOG, POLICIES)


def rejection(file: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        load(file, text)
    return str(error.value).replace(str(file), "keys.yaml")


def key(**fields: object) -> Key:
    return Key(**{"id": "ci", "hash": HASH, **fields})  # type: ignore[arg-type]


# Authentication


def test_a_key_is_found_by_its_full_value() -> None:
    keys = Keys([key(), key(id="other", hash=hash_of(SECRET + "2"))])
    first = keys.find(SECRET)
    assert first is not None
    assert first.id == "ci"
    other = keys.find(SECRET + "2")
    assert other is not None
    assert other.id == "other"


@pytest.mark.parametrize(
    "presented", ["", SECRET[:-1], SECRET + "x", SECRET.upper(), f" {SECRET}", HASH, "pv-", "\udcff", "x" * 10_000_000]
)
def test_anything_but_the_exact_key_is_not_found(presented: str) -> None:
    assert Keys([key()]).find(presented) is None


@given(st.text())
def test_only_the_key_itself_is_found(text: str) -> None:
    assert (Keys([key()]).find(text) is not None) == (text == SECRET)


def test_new_keys_are_long_and_unique() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(value.startswith("pv-") and len(value) == 46 for value in keys)


def test_without_keys_no_authentication_is_needed() -> None:
    assert Keys().authenticate(None) is None
    assert Keys().authenticate("anything") is None


@pytest.mark.parametrize(
    ("presented", "problem"),
    [
        (None, "API key required: send it as `Authorization: Bearer …`, `x-api-key` or"),
        ("pv-wrong", "invalid API key"),
    ],
)
def test_with_keys_authentication_is_required(presented: str | None, problem: str) -> None:
    with pytest.raises(InvalidKeyError, match=problem) as error:
        Keys([key()]).authenticate(presented)
    assert "pv-wrong" not in str(error.value)


def test_a_key_is_active_until_the_day_on_which_it_expires() -> None:
    keys = Keys([key(expires=Day(2026, 12, 1))])
    assert keys.authenticate(SECRET, datetime.date(2026, 11, 30)) is not None
    with pytest.raises(InvalidKeyError, match='the key "ci" expired on 2026-12-01'):
        keys.authenticate(SECRET, datetime.date(2026, 12, 1))


def test_a_revoked_key_is_inactive_but_authentication_stays_required() -> None:
    keys = Keys([key(revoked=Day(2026, 11, 23))])
    assert keys
    with pytest.raises(InvalidKeyError, match='the key "ci" was revoked on 2026-11-23'):
        keys.authenticate(SECRET, TODAY)
    with pytest.raises(InvalidKeyError):
        keys.authenticate(None, TODAY)


def test_the_default_day_is_today() -> None:
    with pytest.raises(InvalidKeyError, match="expired"):
        Keys([key(expires=Day(2020, 1, 1))]).authenticate(SECRET)


# Request headers


@pytest.mark.parametrize(
    ("headers", "presented"),
    [
        ({"authorization": "Bearer a"}, "a"),
        ({"authorization": "bearer   a "}, "a"),
        ({"x-api-key": " a "}, "a"),
        ({"authorization": "Bearer a", "x-api-key": "b"}, "a"),
        ({"authorization": "Basic YTpi", "x-api-key": "b"}, "b"),
        ({"authorization": "Bearer", "x-api-key": "b"}, "b"),
        ({"authorization": "Basic YTpi"}, None),
        ({"authorization": "a"}, None),
        ({"authorization": "", "x-api-key": " "}, None),
        ({}, None),
    ],
)
def test_a_key_comes_as_a_bearer_token_or_as_x_api_key(headers: dict[str, str], presented: str | None) -> None:
    assert presented_key(headers) == presented


# Permissions


def test_a_key_without_lists_allows_everything() -> None:
    assert key().allows_card("llama-8b")
    assert key().allows_policy("best")
    assert key().default_policy == "default"


@pytest.mark.parametrize(
    ("cards", "allowed"),
    [
        (("llama-*",), {"llama-70b", "llama-8b"}),
        (("llama-8b", "gpt-4o"), {"llama-8b", "gpt-4o"}),
        (("*-?b",), {"llama-8b"}),
        (("LLAMA-*",), set()),
        (("llama",), set()),
        ((), set()),
    ],
)
def test_cards_are_allowed_by_id_or_pattern(cards: tuple[str, ...], allowed: set[str]) -> None:
    restricted = key(cards=cards)
    assert {card for card in CATALOG.ids if restricted.allows_card(card)} == allowed
    assert set(Keys([restricted], CATALOG.ids).denied(restricted)) == set(CATALOG.ids) - allowed


def test_a_card_whose_id_looks_like_a_pattern_is_matched_literally() -> None:
    assert key(cards=("a[1]",)).allows_card("a[1]")


def test_a_denied_card_has_a_reason() -> None:
    restricted = key(cards=("llama-*",))
    assert Keys([restricted], CATALOG.ids).denied(restricted) == {"gpt-4o": 'not allowed by the key "ci"'}


def test_policies_are_allowed_by_id_or_pattern() -> None:
    restricted = key(policies=("b*",), policy="best")
    assert [id_ for id_ in POLICIES if restricted.allows_policy(id_)] == ["best"]
    assert restricted.default_policy == "best"


# The file


def test_all_fields_of_a_key_are_read(file: Path) -> None:
    keys = load(
        file,
        f"""
keys:
  - id: ci
    hash: {HASH}
    created: 2026-11-23
    expires: 2027-01
    description: The build machines
    cards: [llama-*, gpt-4o]
    policies: [best, cheap]
    policy: cheap
    rpm: 60
    budget_usd_per_day: 5$
""",
    )
    assert list(keys) == [
        key(
            created=Day(2026, 11, 23),
            expires=Day(2027, 1, 1),
            description="The build machines",
            cards=("llama-*", "gpt-4o"),
            policies=("best", "cheap"),
            policy="cheap",
            rpm=60,
            budget_usd_per_day=5.0,
        )
    ]


@pytest.mark.parametrize("text", ["", "# none\n", "keys:\n", "keys: []\n", "{}"])
def test_a_file_without_keys_is_valid(file: Path, text: str) -> None:
    assert not load(file, text)


def test_a_missing_file_has_no_keys(file: Path) -> None:
    assert not load_keys(file)


OTHER = hash_of("other")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"keys:\n- id: a\n  hash: {HASH}\n  rmp: 5", '4: keys.0: unknown key "rmp"; did you mean "rpm"?'),
        (f"keys:\n- id: a\n  hash: {HASH}\n- id: b\n  hash: {OTHER}\n  rpm: 0", "6: keys.1.rpm: expected `int` >= 1"),
        ("keys:\n- id: a", '2: keys.0: the key "hash" is missing'),
        (f"keys:\n- id: a b\n  hash: {HASH}", "2: keys.0.id: expected `str` matching regex"),
        (f"keys:\n- id: a\n  hash: {HASH}\n- id: a\n  hash: {OTHER}", "4: a: id: another key has this id"),
        (f"keys:\n- id: a\n  hash: {HASH}\n- id: b\n  hash: {HASH}", "5: b: hash: another key has this hash"),
        (
            f"keys:\n- id: a\n  hash: {HASH}\n  cards: [llama-8]",
            '4: a: cards: there is no card "llama-8"; did you mean "llama-8b"?',
        ),
        (
            f"keys:\n- id: a\n  hash: {HASH}\n  policies: [default, bets]",
            '4: a: policies: there is no policy "bets"; did you mean "best"?',
        ),
        (f"keys:\n- id: a\n  hash: {HASH}\n  policy: chep", '4: a: policy: there is no policy "chep"; did you mean'),
        (
            f"keys:\n- id: a\n  hash: {HASH}\n  policies: [best]",
            '4: a: policies: the key does not allow "default"; name one of the allowed ones with `policy:`',
        ),
        (
            f"keys:\n- id: a\n  hash: {HASH}\n  policies: [best]\n  policy: cheap",
            '5: a: policy: the key does not allow "cheap"',
        ),
        (
            f"keys:\n- id: a\n  hash: {HASH}\n  budget_usd_per_day: much",
            "4: keys.0.budget_usd_per_day: expected an amount in US dollars such as 0.15$",
        ),
        (f"keys:\n- id: a\n  hash: {HASH}\n  expires: soon", "4: keys.0.expires: expected a date such as 2025-03"),
        ("- id: a", "1: expected `keys:` and a list of keys, got a list"),
    ],
)
def test_an_invalid_field_is_reported_with_its_line_and_key(file: Path, text: str, problem: str) -> None:
    assert rejection(file, text).startswith(f"keys.yaml:{problem}")


def test_every_problem_is_listed(file: Path) -> None:
    lines = rejection(file, f"keys:\n- id: a\n  hash: {HASH}\n  cards: [x]\n- id: b\n  hash: sha256:12\n").splitlines()
    assert [line.split(": ", maxsplit=1)[0] for line in lines] == ["keys.yaml:4", "keys.yaml:6"]


def test_a_revoked_key_may_name_deleted_cards_and_policies(file: Path) -> None:
    text = f"keys:\n- id: a\n  hash: {HASH}\n  cards: [gone]\n  policy: gone\n  revoked: 2026-01-01\n"
    assert len(load(file, text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        f"keys:\n- id: a\n  hash: {SECRET}\n",
        f"keys:\n- id: a\n  key: {SECRET}\n",
        f"keys:\n- id: a # {SECRET}\n  hash: {HASH}\n",
        f"{SECRET}: {{}}\n\n\n",
        f"x:\n- {SECRET}\n- {SECRET}: 1\n  {SECRET}: 2\n",
    ],
)
def test_a_plaintext_key_is_rejected_without_being_shown(file: Path, text: str) -> None:
    problem = rejection(file, text)
    line = text[: text.index(SECRET)].count("\n") + 1
    assert problem == (
        f"keys.yaml:{line}: this line contains a plaintext key; delete it. "
        "Create a new key with `route keys add`: this one may be compromised"
    )


@pytest.mark.parametrize("value", ["sk-proj-abcdef", "hunter2", "sha256:" + "A" * 64, "sha256:" + "0" * 63])
def test_an_invalid_hash_is_rejected_without_being_shown(file: Path, value: str) -> None:
    problem = rejection(file, f"keys:\n- id: a\n  hash: {value}\n")
    assert problem.startswith("keys.yaml:3: a: hash: must be sha256: and 64 lower-case hexadecimal digits")
    assert value not in problem


def test_a_world_writable_file_causes_a_warning(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(file, f"keys:\n- id: a\n  hash: {HASH}\n")
    assert not caplog.records
    file.chmod(0o666)
    with caplog.at_level(logging.WARNING):
        load_keys(file)
    assert "is world-writable, so any user of this machine could add keys; run chmod o-w" in caplog.text


def test_the_schema_accepts_what_the_reader_accepts_and_rejects_mistakes() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    valid = {"id": "a", "hash": HASH, "cards": ["llama-*"], "rpm": 5, "budget_usd_per_day": "5$", "expires": "2027-01"}
    assert not list(validator.iter_errors({"keys": [valid]}))
    for mistake in ({"rmp": 5}, {"hash": SECRET}, {"rpm": 0}, {"expires": "soon"}, {"cards": "all"}):
        assert list(validator.iter_errors({"keys": [{**valid, **mistake}]})), mistake
