"""What every endpoint of a worker uses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from router.compose.runner import PlanRunner
from router.dispatch import Dispatcher
from router.dispatch.bounds.admission import Admission
from router.dispatch.bounds.body_memory import BodyMemory
from router.dispatch.bounds.pace import Pace
from router.gateway.config.reload import ConfigReloader
from router.gateway.learning.answer_copy import AnswerCopy
from router.gateway.learning.judges import Judges
from router.gateway.learning.learner import Learner
from router.gateway.offpath.shadow import Shadows
from router.gateway.routing.budget_line import BudgetLines
from router.gateway.routing.recorder import Recorder
from router.gateway.routing.selection import Selector
from router.gateway.routing.sessions import Sessions
from router.store.records.record import Record
from router.store.state.protocol import StateStore

if TYPE_CHECKING:
    from router.gateway.telemetry.spans import Traces

Sink = Callable[[Record], Awaitable[None] | None]
"""Takes the record of every request, in the order in which requests end. What it returns is awaited before the request
is acknowledged.
"""


class Services(Struct, frozen=True, eq=False):
    """The services of one worker. `state` counts what keys use, `sessions` remembers who answered; `lines` are the
    requests that wait for their key's budget, and `pace` lets requests begin whose bodies have arrived.
    """

    reloader: ConfigReloader
    selector: Selector
    dispatcher: Dispatcher
    runner: PlanRunner
    admission: Admission
    bodies: BodyMemory
    state: StateStore
    sessions: Sessions
    recorder: Recorder
    learner: Learner
    judges: Judges
    shadows: Shadows
    sinks: Sequence[Sink] = ()
    traces: Traces | None = None
    lines: BudgetLines = msgspec.field(default_factory=BudgetLines)
    pace: Pace = msgspec.field(default_factory=Pace)

    def answered(self, copy: AnswerCopy | None) -> None:
        """Let graders and judges have an answer, which the client has by now."""
        record = None if copy is None else copy.record
        if copy is not None and record is not None and copy.is_worth_reading and self.learner.read(record, copy):
            self.judges.offer(record, copy)

    async def write(self, record: Record) -> None:
        """Give a record to every sink, then wait for those that are slow: a deadline may end the waiting."""
        for written in [sink(record) for sink in self.sinks]:
            if written is not None:
                await written
