"""The memory of drafts: counted with that of bodies while a plan runs, and given back with the request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from router.compose.run.held import HeldAnswers
from router.decide.plans.spec import BestOf, Cascade, FixedGate, Validators
from router.dispatch.bounds.body_memory import BodyMemory, Reserved
from router.dispatch.pool.queue import QueueLimits
from router.errors import BusyError, UpstreamError
from router.formats.quantities import ByteCount
from router.gateway.config.gateway_yaml import GatewayConfig
from tests.compose.run.servers import SHORT, Script, planned, text_of
from tests.gateway.servers import wait_for

MIB = 2**20
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
LONG = "word " * (3 * MIB // 5)


class Watched(BodyMemory):
    """Notes how much was used at most."""

    most_bytes = 0

    def _count(self, key: str, more_bytes: int) -> None:
        super()._count(key, more_bytes)
        self.most_bytes = max(self.most_bytes, self.used_bytes)


def held(capacity: int, *others: int) -> tuple[BodyMemory, HeldAnswers, list[Reserved]]:
    memory = BodyMemory(capacity, QueueLimits(), 0.75)
    reserved = [Reserved(memory, "") for _ in (0, *others)]
    for each, size in zip(reserved[1:], others, strict=True):
        assert each.take(size)
    return memory, HeldAnswers(reserved[0]), reserved


def test_answers_count_twice_and_are_given_back() -> None:
    async def main() -> None:
        memory, answers, _ = held(64 * MIB)
        answers.add(3 * MIB)
        assert memory.used_bytes == 6 * MIB
        answers.give_back(MIB)
        assert (memory.used_bytes, answers.bytes) == (4 * MIB, 2 * MIB)

    asyncio.run(main())


def test_without_memory_small_answers_are_held_and_large_ones_are_not() -> None:
    async def main() -> None:
        memory, answers, _ = held(8 * MIB, 6 * MIB)
        answers.add(MIB)
        used_bytes = memory.used_bytes
        with pytest.raises(BusyError):
            answers.add(1)
        assert (memory.used_bytes, answers.bytes) == (used_bytes, MIB)

    asyncio.run(main())


@pytest.mark.parametrize("is_counted", [True, False])
def test_the_answers_of_one_plan_are_limited_together(is_counted: bool) -> None:
    async def main() -> None:
        _, counted, _ = held(1024 * MIB)
        answers = counted if is_counted else HeldAnswers(None)
        answers.add(16 * MIB)
        answers.add(16 * MIB)
        with pytest.raises(UpstreamError, match="too large together"):
            answers.add(1)

    asyncio.run(main())


@STREAM
def test_the_drafts_of_a_plan_are_counted_until_its_request_ends(script: Script, stream: bool) -> None:
    script.answers |= {"a": LONG, "b": "PASS"}
    spec = BestOf(id="p", description="x", members=("a", "b"), validators=Validators(regex="^PASS"))
    with planned(script, spec, "a", "b") as gateway:
        memory = gateway.memory
        watch(memory)
        assert text_of(gateway.ask(stream=stream)) == "PASS"
        assert memory.most_bytes >= 2 * len(LONG)  # type: ignore[attr-defined]
        assert wait_for(lambda: memory.used_bytes == 0)


def test_where_memory_is_short_a_long_draft_gives_way_to_an_answer_that_is_relayed(script: Script) -> None:
    script.answers |= {"a": LONG, "b": LONG}
    spec = Cascade(id="p", description="x", members=("a", "b"), gate=FixedGate(0.01))
    config = GatewayConfig(timeouts=SHORT, body_memory_bytes=ByteCount(4 * MIB))
    with planned(script, spec, "a", "b", config=config) as gateway:
        memory = gateway.memory
        watch(memory)
        # One request alone may always go on.
        assert Reserved(memory, "").take(MIB)
        assert text_of(gateway.ask(stream=True)) == LONG
        assert [(call.card, call.verdict, call.reason) for call in gateway.record.outcome.calls] == [
            ("a", "failed", "busy"),
            ("b", "shown", ""),
        ]
        assert memory.most_bytes <= 4 * MIB  # type: ignore[attr-defined]
        assert wait_for(lambda: memory.used_bytes == MIB)


def watch(memory: Any) -> None:
    memory.__class__ = Watched
