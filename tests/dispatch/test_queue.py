"""The waiting queue: which waiter gets a freed slot, and when waiting ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from router.dispatch.pool.queue import QueueLimits, WaitingQueue
from router.errors import BusyError
from router.formats.quantities import Seconds

BUSY = BusyError("busy", 1.0)


def limits(size: int = 10, wait_s: float = 5.0) -> QueueLimits:
    return QueueLimits(size, Seconds(wait_s))


class Slots:
    """Named slots that are free or taken."""

    def __init__(self, *free: str) -> None:
        self.free = set(free)
        self.queue: WaitingQueue[str] = WaitingQueue(self.release)

    def release(self, slot: str) -> None:
        self.free.add(slot)
        self.queue.notify(slot)

    def take(self, *wanted: str) -> str | None:
        for slot in wanted:
            if slot in self.free:
                self.free.remove(slot)
                return slot
        return None

    def wait(self, *wanted: str, within: QueueLimits | None = None) -> Coroutine[Any, Any, str]:
        return self.queue.wait(lambda: self.take(*wanted), within or limits(), BUSY, wanted)


def test_waiters_get_freed_slots_in_the_order_of_arrival() -> None:
    async def main() -> list[str]:
        slots, served = Slots(), []

        async def client(name: str) -> None:
            await slots.wait("a")
            served.append(name)

        clients = [asyncio.create_task(client(name)) for name in ("first", "second", "third")]
        await asyncio.sleep(0)
        for _ in clients:
            slots.release("a")
            await asyncio.sleep(0.01)
        await asyncio.gather(*clients)
        return served

    assert asyncio.run(main()) == ["first", "second", "third"]


def test_a_notification_grants_every_free_slot() -> None:
    async def main() -> set[str]:
        slots = Slots()
        waiters = [asyncio.create_task(slots.wait("a", "b")) for _ in range(3)]
        await asyncio.sleep(0)
        slots.free |= {"a", "b"}
        slots.queue.notify()
        done, waiting = await asyncio.wait(waiters, timeout=0.2)
        for waiter in waiting:
            waiter.cancel()
        return {waiter.result() for waiter in done}

    assert asyncio.run(main()) == {"a", "b"}


def test_a_slot_skips_waiters_that_it_does_not_fit() -> None:
    async def main() -> tuple[str, bool]:
        slots = Slots()
        wants_a = asyncio.create_task(slots.wait("a"))
        wants_b = asyncio.create_task(slots.wait("b"))
        await asyncio.sleep(0)
        slots.release("b")
        slot = await asyncio.wait_for(wants_b, 1)
        waiting = not wants_a.done()
        wants_a.cancel()
        return slot, waiting

    assert asyncio.run(main()) == ("b", True)


def test_a_waiter_that_leaves_after_its_grant_passes_the_slot_on() -> None:
    async def main() -> str:
        slots = Slots()
        leaving, staying = (asyncio.create_task(slots.wait("a")) for _ in range(2))
        await asyncio.sleep(0)
        slots.release("a")
        leaving.cancel()
        return await asyncio.wait_for(staying, 1)

    assert asyncio.run(main()) == "a"


def test_no_slot_is_lost_when_every_waiter_leaves() -> None:
    async def main() -> set[str]:
        slots = Slots()
        waiters = [asyncio.create_task(slots.wait("a")) for _ in range(3)]
        await asyncio.sleep(0)
        slots.release("a")
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
        return slots.free

    assert asyncio.run(main()) == {"a"}


def test_a_slot_that_becomes_free_without_a_notification_is_granted_by_the_next_check() -> None:
    async def main() -> str:
        slots = Slots()
        waiting = asyncio.create_task(slots.wait("a"))
        await asyncio.sleep(0)
        slots.free.add("a")
        return await asyncio.wait_for(waiting, 3)

    assert asyncio.run(main()) == "a"


@pytest.mark.parametrize("within", [limits(size=0), limits(wait_s=0.01)], ids=["full", "slow"])
def test_waiting_ends_where_the_queue_is_full_or_takes_too_long(within: QueueLimits) -> None:
    slots = Slots()
    with pytest.raises(BusyError):
        asyncio.run(slots.wait("a", within=within))
    assert len(slots.queue) == 0


def test_tenants_get_freed_slots_in_turn() -> None:
    async def main() -> list[str]:
        slots, served = Slots(), []

        async def client(tenant: str) -> None:
            await slots.queue.wait(lambda: slots.take("a"), limits(), BUSY, tenant=tenant)
            served.append(tenant)

        clients = [asyncio.create_task(client(tenant)) for tenant in ("greedy", "greedy", "greedy", "modest", "other")]
        await asyncio.sleep(0)
        for _ in clients:
            slots.release("a")
            await asyncio.sleep(0.01)
        await asyncio.gather(*clients)
        return served

    assert asyncio.run(main()) == ["greedy", "modest", "other", "greedy", "greedy"]


def test_no_tenant_has_all_places_of_the_queue() -> None:
    async def main() -> tuple[bool, bool, int]:
        slots, few = Slots(), limits(size=8)
        waiting = []
        while slots.queue.has_room(few, "greedy"):
            waiting.append(asyncio.create_task(slots.queue.wait(lambda: slots.take("a"), few, BUSY, tenant="greedy")))
            await asyncio.sleep(0)
        rooms = slots.queue.has_room(few, "greedy"), slots.queue.has_room(few, "modest")
        for waiter in waiting:
            waiter.cancel()
        return *rooms, len(waiting)

    assert asyncio.run(main()) == (False, True, 6)


def test_waiters_of_another_group_are_served_where_those_of_the_first_get_none() -> None:
    async def main() -> str:
        slots = Slots()
        first = asyncio.create_task(slots.queue.wait(lambda: slots.take("a"), limits(), BUSY, group="a"))
        second = asyncio.create_task(slots.queue.wait(lambda: slots.take("b"), limits(), BUSY, group="b"))
        await asyncio.sleep(0)
        slots.free.add("b")
        slots.queue.notify()
        slot = await asyncio.wait_for(second, 0.5)
        first.cancel()
        return slot

    assert asyncio.run(main()) == "b"


def test_the_tenant_that_has_used_the_fewest_tokens_gets_the_slot() -> None:
    async def main() -> str:
        slots = Slots()
        waiting = {
            tenant: asyncio.create_task(slots.queue.wait(lambda: slots.take("a"), limits(), BUSY, tenant=tenant))
            for tenant in ("greedy", "modest")
        }
        await asyncio.sleep(0)
        slots.queue.counters.charge("greedy", 100)
        slots.release("a")
        done, _ = await asyncio.wait(waiting.values(), timeout=0.5)
        waiting["greedy"].cancel()
        return next(tenant for tenant, waiter in waiting.items() if waiter in done)

    assert asyncio.run(main()) == "modest"


def test_a_request_that_needs_its_adapter_loaded_is_passed_by_eight_warm_ones_at_most() -> None:
    async def main() -> list[str]:
        slots, served = Slots(), list[str]()

        async def client(name: str) -> None:
            await slots.queue.wait(lambda: slots.take("a"), limits(20), BUSY, is_warm=lambda: name != "cold")
            served.append(name)

        clients = [asyncio.create_task(client(name)) for name in ("cold", *["warm"] * 12)]
        await asyncio.sleep(0)
        for _ in clients:
            slots.release("a")
            await asyncio.sleep(0.01)
        await asyncio.gather(*clients)
        return served

    assert asyncio.run(main()).index("cold") == 8
