"""The conversation of a request: whose id counts, and what its head is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.wire.reading.identity import FIELDS, HEADERS, Identity, identity_of
from router.wire.reading.stored import hashed

UUID = "57a121ec-f78c-48c3-a745-e3036a3ecc33"
HI = {"messages": [{"role": "user", "content": "hi"}]}


def identity(headers: dict[str, str] | None = None, session: str = "", **fields: Any) -> Identity:
    return identity_of({**HI, **fields}, headers or {}, session, "default")


def nested(path: str, value: Any) -> dict[str, Any]:
    outer, _, inner = path.partition(".")
    return {outer: {inner: value} if inner else value}


@pytest.mark.parametrize(
    ("headers", "fields", "session"),
    [
        ({}, {"prompt_cache_key": "k"}, hashed("cache", "k")),
        ({"x-session-id": "s"}, {"prompt_cache_key": "k"}, hashed("cache", "k")),
        ({}, {"metadata": {"user_id": f"user_ab12_account__session_{UUID}"}}, hashed("claude", UUID)),
        ({}, {"metadata": {"user_id": f"user_ab12_account_77_session_{UUID}"}}, hashed("claude", UUID)),
        ({}, {"metadata": {"user_id": json.dumps({"device_id": "d", "session_id": UUID})}}, hashed("claude", UUID)),
        ({"x-claude-code-session-id": UUID}, {}, hashed("claude", UUID)),
        ({}, {"previous_response_id": "resp_1"}, hashed("response", "resp_1")),
        ({}, {"conversation": "conv_1"}, hashed("conversation", "conv_1")),
        ({}, {"conversation": {"id": "conv_1"}}, hashed("conversation", "conv_1")),
        *(({header: "s"}, {}, hashed(kind, "s")) for header, kind in HEADERS.items()),
        *(({}, nested(path, "s"), hashed(kind, "s")) for path, kind in FIELDS.items()),
    ],
)
def test_the_id_that_a_client_gives_is_the_session(
    headers: dict[str, str], fields: dict[str, Any], session: str
) -> None:
    found = identity(headers, **fields)
    assert found.session == session
    assert found.continues


def test_the_gateways_own_header_goes_before_every_other_id() -> None:
    found = identity({"session_id": "x"}, "mine", prompt_cache_key="k")
    said = hashed("said", "mine")
    assert (found.session, found.names) == (said, (said,))
    assert "mine" not in said


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"user_id": "alice"}},
        {"metadata": {"user_id": json.dumps({"device_id": "d"})}},
        {"metadata": {"user_id": "[1"}},
        {"metadata": {"user_id": json.dumps({"session_id": 7})}},
        {"user": "alice"},
        {"safety_identifier": "alice"},
        {"prompt_cache_key": 7},
        {"prompt_cache_key": "x" * 3000},
        {"conversation": {}},
        {"metadata": "odd"},
    ],
)
def test_a_person_or_an_odd_value_is_no_conversation(fields: dict[str, Any]) -> None:
    found = identity(**fields)
    assert ":" not in found.session
    assert not found.continues


def test_the_same_beginning_of_two_persons_is_two_conversations() -> None:
    assert identity(user="alice").session != identity(user="bob").session
    assert identity(user="alice").session == identity(user="alice").session


def test_the_id_of_each_request_is_none_of_a_conversation() -> None:
    one, other = (identity({"x-client-request-id": id_, "x-request-id": id_}).session for id_ in "ab")
    assert one == other


SYSTEM = [
    {"system": "{}", "messages": [{"role": "user", "content": "fix it"}]},
    {"system": [{"type": "text", "text": "{}"}], "messages": [{"role": "user", "content": "fix it"}]},
    {"messages": [{"role": "system", "content": "{}"}, {"role": "user", "content": "fix it"}]},
    {"messages": [{"role": "developer", "content": "{}"}, {"role": "user", "content": "fix it"}]},
    {"instructions": "{}", "input": "fix it"},
    {"instructions": "{}", "input": [{"type": "message", "role": "user", "content": "fix it"}]},
    {"input": [{"role": "user", "content": [{"type": "input_text", "text": "{}"}]}]},
    {"prompt": "{}"},
]


def filled(body: dict[str, Any], text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(body).replace("{}", json.dumps(text)[1:-1]))
    return found


@pytest.mark.parametrize("body", SYSTEM)
@given(first=st.tuples(st.uuids(), st.datetimes()), second=st.tuples(st.uuids(), st.datetimes()))
def test_another_nonce_and_another_clock_keep_the_session(
    body: dict[str, Any], first: tuple[Any, Any], second: tuple[Any, Any]
) -> None:
    texts = [f"You help. Id: {nonce}. Now: {clock.isoformat()}" for nonce, clock in (first, second)]
    one, other = (identity_of(filled(body, text), {}).session for text in texts)
    assert one == other


WORDS = st.text("abcdefghijk xyz", min_size=1).map(str.strip).filter(bool)


@pytest.mark.parametrize("body", SYSTEM)
@given(one=WORDS, other=WORDS)
def test_another_text_is_another_session(body: dict[str, Any], one: str, other: str) -> None:
    ids = [identity_of(filled(body, text), {}).session for text in (one, other)]
    assert (ids[0] == ids[1]) == (one == other)


@pytest.mark.parametrize(
    "rest",
    [
        [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "go on"}],
        [{"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool", "content": "42"}],
    ],
)
def test_a_longer_conversation_has_the_same_head_and_continues(rest: list[dict[str, Any]]) -> None:
    start = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]}
    first, longer = identity_of(start, {}), identity_of({"messages": [*start["messages"], *rest]}, {})
    assert first.names == longer.names
    assert (first.continues, longer.continues) == (False, True)


def test_an_id_that_several_conversations_share_is_looked_up_with_the_beginning_first() -> None:
    one, other = (identity(prompt_cache_key="app", messages=[{"role": "user", "content": text}]) for text in "ab")
    assert one.session == other.session
    assert one.names[0] != other.names[0]
    assert one.names[1] == other.names[1]


def test_side_tasks_to_another_policy_have_a_name_of_their_own() -> None:
    names = [identity_of({**HI, "prompt_cache_key": "k"}, {}, "", policy).names[1] for policy in ("default", "cheap")]
    assert names[0] != names[1]


ODD = st.none() | st.integers() | st.text("ab\ud800", max_size=3)
FIELD_NAMES = st.sampled_from(["messages", "input", "system", "metadata", "user", "conversation", "prompt"])


@given(st.dictionaries(FIELD_NAMES, ODD | st.lists(ODD | st.dictionaries(st.sampled_from(["id", "role"]), ODD))))
def test_no_body_is_an_error(body: dict[str, Any]) -> None:
    assert identity_of(body, {}).session
