"""Which conversation a request belongs to: the id that its client gives, else the beginning of the conversation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from router.wire.reading.moving import without_moving
from router.wire.reading.stored import References, hashed, references_in
from router.wire.texts import OBJECT, all_text

_MAX_ID_CHARACTERS = 2_000
_MAX_HEAD_ENTRIES = 64

HEADERS: Mapping[str, str] = {
    "x-claude-code-session-id": "claude",
    "session-id": "codex",
    "session_id": "codex",
    "x-opencode-session": "session",
    "x-session-affinity": "session",
    "x-session-id": "session",
    "x-litellm-session-id": "session",
    "x-amp-thread-id": "amp",
    "x-grok-conv-id": "grok",
    "x-conversation-id": "conversation",
    "x-openwebui-chat-id": "openwebui",
    "helicone-session-id": "helicone",
    "x-bf-session-id": "bifrost",
    "x-olla-session-id": "olla",
    "x-task-id": "task",
    "x-roo-task-id": "task",
    "x-kilocode-taskid": "task",
    "x-thread-id": "thread",
    "x-chat-id": "openwebui",
    "thread-id": "codex",
    "thread_id": "codex",
    "conversation_id": "codex",
}
"""The headers in which clients name a conversation, with a word for the kind of name: Claude Code, Codex (older ones
with underscores), opencode and what OpenRouter and vLLM read (`x-session-…`), OpenHands, Amp, Grok, Open WebUI,
Bifrost, Olla, and the tasks of Cline, Roo Code and Kilo Code.

`x-client-request-id` is none: most clients give every request another one.
"""

FIELDS: Mapping[str, str] = {
    "session_id": "session",
    "litellm_session_id": "session",
    "metadata.session_id": "session",
    "metadata.sessionId": "qwen",
    "litellm_metadata.session_id": "session",
    "metadata.conversation_id": "conversation",
    "metadata.chat_id": "openwebui",
    "metadata.thread_id": "thread",
    "metadata.task_id": "task",
    "metadata.langfuse_session_id": "langfuse",
    "conversation_id": "conversation",
    "chat_id": "openwebui",
    "thread_id": "thread",
}
"""The fields of a body in which clients name a conversation: OpenRouter, LiteLLM, qwen-code, Open WebUI, LangGraph,
Langfuse and others.
"""

_HEADER_NAMES = frozenset(HEADERS)
_FIRST_FIELDS = frozenset(path.partition(".")[0] for path in FIELDS)

USERS = ("metadata.user_id", "user", "safety_identifier")
"""The fields that name a person. A person has many conversations, so these only separate equal beginnings."""

_USER_FIELDS = frozenset(path.partition(".")[0] for path in USERS)

# Claude Code's `metadata.user_id`: this form, since 2.1.78 a JSON object with `session_id`.
_CLAUDE_SESSION = re.compile(r"_session_([0-9A-Za-z-]{8,})$")


class Identity(Struct, frozen=True):
    """The names of a conversation. They are hashes, so they hold no personal data.

    `session` is the conversation's own name. `names` are those under which its card is looked up and remembered, the
    most specific first. `stored` is what the request refers to and only one server can read. `continues`: an earlier
    request belongs to the conversation, as far as the request shows.
    """

    session: str
    names: tuple[str, ...]
    stored: References = References()
    continues: bool = False

    def at_card(self, card: str) -> Identity:
        """The identity of requests that name `card`: they do not decide who answers the conversation otherwise."""
        return msgspec.structs.replace(self, names=tuple(f"{card}|{name}" for name in self.names))


def identity_of(body: Mapping[str, Any], headers: Mapping[str, str], session: str = "", scope: str = "") -> Identity:
    """The identity of a request in any protocol. Names of `headers` are in lower case.

    `session` is what the client states for the gateway itself. `scope` is the policy: clients send side tasks, such as
    a title, under the name of the conversation to another policy.
    """
    stored = references_in(body)
    if session:
        said = hashed("said", session)
        return Identity(said, (said,), stored, continues=True)
    head, has_more = _head(body)
    # Most requests have no id.
    is_unnamed = _NAMING_FIELDS.isdisjoint(body) and _HEADER_NAMES.isdisjoint(headers)
    kind, name = ("", "") if is_unnamed else next(_ids(body, headers), ("", ""))
    if not name:
        return Identity(head, (head,), stored, has_more or bool(stored.names))
    own = hashed(kind, name)
    if kind in _OF_THE_SERVER:
        return Identity(own, (own,), stored, continues=True)
    # An id may be shared: by side tasks, or by all conversations of an application. The same beginning goes first.
    return Identity(own, (f"{own}|{head}", f"{own}@{scope}"), stored, continues=True)


def _ids(body: Mapping[str, Any], headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The ids in the request in their order of precedence, each with its kind."""
    for kind, read in _READERS if not _READ_FIELDS.isdisjoint(body) else ():
        if name := read(body, headers):
            yield kind, name
    if not _HEADER_NAMES.isdisjoint(headers):
        for header, kind in HEADERS.items():
            if name := _id(headers.get(header)):
                yield kind, name
    if not _FIRST_FIELDS.isdisjoint(body):
        for path, kind in FIELDS.items():
            if name := _id(_at(body, path)):
                yield kind, name


def _claude_session(body: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    """The session within `metadata.user_id`; empty where it names only a person."""
    user = _id(_at(body, "metadata.user_id"))
    if user.startswith("{"):
        try:
            user = msgspec.json.decode(user).get("session_id")
        except (msgspec.DecodeError, UnicodeEncodeError, AttributeError):
            return ""
        return _id(user)
    match = _CLAUDE_SESSION.search(user)
    return "" if match is None else match[1]


def _conversation(body: Mapping[str, Any], _: Mapping[str, str]) -> str:
    conversation = body.get("conversation")
    return _id(conversation.get("id") if isinstance(conversation, Mapping) else conversation)


_Reader = Callable[[Mapping[str, Any], Mapping[str, str]], str]
_READERS: tuple[tuple[str, _Reader], ...] = (
    ("cache", lambda body, _: _id(body.get("prompt_cache_key"))),
    ("claude", _claude_session),
    ("response", lambda body, _: _id(body.get("previous_response_id"))),
    ("conversation", _conversation),
)
_READ_FIELDS = frozenset({"conversation", "metadata", "previous_response_id", "prompt_cache_key"})
_NAMING_FIELDS = _READ_FIELDS | _FIRST_FIELDS
_OF_THE_SERVER = frozenset({"response", "conversation"})
"""The kinds of ids that a server gives, which need no comparison of beginnings."""


def _id(value: Any) -> str:
    """`value` if it may be an id: a text that is neither empty nor long."""
    return value.strip() if isinstance(value, str) and len(value) <= _MAX_ID_CHARACTERS else ""


def _at(body: Mapping[str, Any], path: str) -> Any:
    value: Any = body
    for field in path.split("."):
        value = value.get(field) if isinstance(value, dict) else None
        if value is None:
            return None
    return value


def _head(body: Mapping[str, Any]) -> tuple[str, bool]:
    """A hash of the person, the system text and the user's first turns, without their moving parts; and whether an
    answer, or another turn, follows.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in USERS if not _USER_FIELDS.isdisjoint(body) else ():
        user = _id(_at(body, path))
        if user:
            digest.update(f"{path}\n{user}\n".encode("utf-8", "replace"))
    users = 0
    for number, (role, text) in enumerate(_entries(body)):
        if (users and role != "user") or number >= _MAX_HEAD_ENTRIES:
            return digest.hexdigest(), True
        users += role == "user"
        # Some clients send the first turn again with another end.
        fixed = without_moving(text).strip()
        digest.update(f"{role}\n{len(fixed)}\n{fixed}\n".encode("utf-8", "replace"))
    return digest.hexdigest(), users > 1


def _entries(body: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The role and the text of what a conversation begins with, in any protocol."""
    for field in ("system", "instructions"):
        if body.get(field):
            yield "system", all_text(body[field])
    for field in ("messages", "input", "prompt"):
        value = body.get(field)
        if isinstance(value, str):
            yield "user", value
        for entry in value if isinstance(value, list) else ():
            if isinstance(entry, str):
                yield "user", entry
            elif isinstance(entry, OBJECT):
                yield _role(entry), all_text(entry)


def _role(entry: Mapping[str, Any]) -> str:
    role = entry.get("role")
    if isinstance(role, str):
        return "system" if role == "developer" else role
    return str(entry.get("type"))
