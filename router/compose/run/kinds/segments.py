"""Segments: a prompt of several tasks is split, each task goes to the best card for it, the answers are joined."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from router.compose.run.chat import as_chat, messages_of, newest_of_user
from router.compose.run.draft import Draft
from router.compose.run.kinds.joined_stream import JoinedStream
from router.compose.run.kinds.parts import beginning, group_call
from router.compose.run.member import Members
from router.compose.run.together import cancelled
from router.decide.plans.segments import Group, plan_segments
from router.decide.plans.spec import Segments
from router.dispatch import Call, UpstreamResponse
from router.dispatch.stream import EventStream
from router.errors import CallerError, UpstreamError
from router.formats.json import json_bytes
from router.wire import CONVERSIONS
from router.wire.streams.progress import choices_in
from router.wire.usage.added import with_added

if TYPE_CHECKING:
    from router.compose.split import Split


class Work:
    """The calls that answer the tasks of one prompt, and their answers as they come. `first` is the text of the first
    one, which others may depend on. Calls at a server of one's own that writes the first answer wait until it has
    `begun`, since they would delay it.
    """

    def __init__(self, members: Members, call: Call, parts: Split, groups: Sequence[Group]) -> None:
        self.members, self.call, self.parts, self.groups = members, call, parts, groups
        self.first: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.begun = asyncio.Event()
        self.tasks: list[asyncio.Task[str]] = []
        self.drafts: dict[int, Draft] = {}

    def start(self, since: int) -> None:
        """Begin the calls from this one on."""
        for number in range(since, len(self.groups)):
            self.tasks.append(asyncio.ensure_future(self._answer(number, since)))

    async def stop(self) -> None:
        """Cancel what is not done."""
        self.first.cancel()
        await cancelled(self.tasks)

    async def _answer(self, number: int, since: int) -> str:
        """The text of one answer: by the best card for it, else by another. Raises UpstreamError where none has one."""
        group, before = self.groups[number], None
        if group.after is not None:
            earlier = self.groups[group.after]
            text = await (asyncio.shield(self.first) if group.after < since else self.tasks[group.after - since])
            before = earlier, text
        if since and self.members.share_server(self.groups[0].card, group.card):
            await self.begun.wait()
        call = group_call(self.call, self.parts, group, before)
        return await self._by_any(number, (group.card, *self._others), call)

    async def first_by_another(self, failed: str) -> str:
        """The text of the first answer where the card `failed` wrote none. Raises UpstreamError as `_answer`."""
        call = group_call(self.call, self.parts, self.groups[0], None)
        return await self._by_any(0, [card for card in self._others if card != failed], call)

    @property
    def _others(self) -> tuple[str, ...]:
        return (self.members.plan.card, *self.members.plan.fallbacks)

    async def _by_any(self, number: int, cards: Sequence[str], call: Call) -> str:
        for card in dict.fromkeys(cards):
            draft = await self.members.draft(card, "segment", call, stream=True)
            if draft is not None and not draft.failed:
                draft.called.end("shown")
                self.drafts[number] = draft
                return draft.text.strip()
        part = self.groups[number].segments[0] + 1
        raise UpstreamError(f"no model answered part {part} of the request", 502, "segment")


async def run_segments(members: Members, spec: Segments) -> UpstreamResponse | None:
    """The joined answers; the first one live where the client streams. None where a part has no answer, or where one
    card answers the whole prompt.
    """
    # Imported here because it compiles long patterns, which few policies have a use for.
    from router.compose.split import split

    scores = members.brief.scores
    # Other clients would notice how long it takes to split a long prompt, and to score many parts.
    parts = await asyncio.to_thread(split, members.prompt)
    count = len(parts.segments)
    if count < 2 or scores is None:
        return None
    if count > spec.caps.calls:
        # The decision splits no such prompt either, and each part takes a decision of its own.
        return await members.live(members.plan.card, "answer")
    try:
        call = as_chat(members.call)
    except CallerError:
        return None
    if newest_of_user(messages_of(call)) is None:
        return None
    alone = [group_call(call, parts, Group("", (number,)), None).body for number in range(count)]
    planned = await asyncio.to_thread(
        plan_segments,
        [segment.depends for segment in parts.segments],
        lambda number: scores(alone[number]),
        members.plan.card,
        min_gain=spec.min_gain,
        most_calls=members.limits.calls,
    )
    if not planned.is_split:
        return await members.live(planned.groups[0].card, "answer")
    work = Work(members, call, parts, planned.groups)
    return await (_streamed(work) if members.call.stream else _whole(work))


async def _streamed(work: Work) -> UpstreamResponse | None:
    members = work.members
    work.start(1)
    try:
        begun = await members.begun(
            work.groups[0].card, "segment", group_call(work.call, work.parts, work.groups[0], None)
        )
    except BaseException:
        await work.stop()
        raise
    if begun is None:
        await work.stop()
        return None
    work.begun.set()
    called, response = begun
    assert isinstance(response.body, EventStream)
    stream = JoinedStream(response.body, members, called, work)
    return msgspec.structs.replace(response, body=stream)


async def _whole(work: Work) -> UpstreamResponse | None:
    members = work.members
    work.start(0)
    try:
        texts = [await task for task in work.tasks]
    except UpstreamError as error:
        members.failures.append(error)
        return None
    finally:
        await work.stop()
    draft = work.drafts[0]
    text = "".join(beginning(work.parts, group, each) + each for group, each in zip(work.groups, texts, strict=True))
    chat = _with_text(draft.document, text)
    total = members.ledger.usage()
    if total is not None:
        chat = with_added("chat", {name: value for name, value in chat.items() if name != "usage"}, total, total)
    api = members.call.api
    answer = chat if api == "chat" else CONVERSIONS[api].answer(chat, members.call.body, draft.card.id_without_effort)
    headers = {**draft.response.headers, "content-type": "application/json"}
    return msgspec.structs.replace(draft.response, headers=headers, body=json_bytes(answer))


def _with_text(document: Mapping[str, Any], text: str) -> dict[str, Any]:
    first = next(iter(choices_in(document)), {})
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": first.get("finish_reason") or "stop"}
    return {**document, "choices": [choice]}
