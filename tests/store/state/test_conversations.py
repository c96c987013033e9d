"""The conversations of a single worker answer as those of a shared state do."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from router.store.state.conversations import MemoryConversations
from router.store.state.protocol import LastAnswer
from router.store.state.sqlite import SqliteState
from tests.store.state.states import NOW

_TURNS = st.lists(
    st.tuples(
        *(st.sampled_from("abc"), st.sampled_from(("small", "large")), st.sampled_from(("", "server"))),
        *(st.sampled_from(("", "key")), st.integers(0, 40_000)),
    ),
    max_size=20,
)


@settings(max_examples=30, deadline=None)
@given(_TURNS)
def test_conversations_are_remembered_as_in_a_shared_state(turns: list[tuple[str, str, str, str, int]]) -> None:
    async def main() -> None:
        memory, shared, now_s = MemoryConversations(), SqliteState(), NOW
        for session, card, server, key, later_s in turns:
            now_s += later_s
            for store in (memory, shared):
                await store.remember(session, LastAnswer(card, server), now_s, key)
            for name in "abc":
                for of in ("", "key"):
                    # A shared state writes an active conversation once a minute.
                    at_s = now_s + 120.0
                    assert await memory.last_answer(name, at_s, of) == await shared.last_answer(name, at_s, of)
        shared.close()

    asyncio.run(main())


def test_the_least_recently_answered_conversations_are_forgotten_over_the_limit() -> None:
    async def known() -> list[int]:
        memory = MemoryConversations(max_sessions=10)
        for number in range(25):
            await memory.remember(f"talk {number}", LastAnswer("small"), NOW + number)
            await memory.remember("talk 3", LastAnswer("small"), NOW + number)
        return [number for number in range(25) if await memory.last_answer(f"talk {number}", NOW + 100)]

    assert asyncio.run(known()) == [3, *range(16, 25)]
