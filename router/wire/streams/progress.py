"""How far a stream has come: which parts of the answer have begun, and which are finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from router.wire.chat.finish import Reason, reason_of

_RESPONSE_ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")


class Progress:
    """The progress of a stream whose closing event alone says that it is complete."""

    failure: str | None = None
    """Why the server gave up, although its stream continues."""

    def read(self, event: Mapping[str, Any]) -> None:
        """Read the next decoded event that may begin or finish a part."""

    def begin_first(self) -> None:
        """As `read`, of an event with a text of the first choice alone."""

    def finish_first(self) -> None:
        """As `read`, of an event which says that the first choice alone is finished, and not in vain."""

    @property
    def is_finished(self) -> bool:
        """Whether everything that began is finished."""
        return True


class ChoicesProgress(Progress):
    """A stream of chat or text completions, in which every choice that began must finish."""

    def __init__(self) -> None:
        self._unfinished: set[int] = set()
        self._finished: set[int] = set()

    def read(self, event: Mapping[str, Any]) -> None:
        """See `Progress.read`."""
        for choice in choices_in(event):
            given = choice.get("index")
            index = given if isinstance(given, int) else 0
            reason = _reason(choice)
            if reason is not None:
                self._finished.add(index)
                self._unfinished.discard(index)
                if reason.is_failure:
                    self.failure = f'stopped with the finish reason "{reason.word}"'
            elif index not in self._finished:
                self._unfinished.add(index)

    def begin_first(self) -> None:
        """See `Progress.begin_first`."""
        if 0 not in self._finished:
            self._unfinished.add(0)

    def finish_first(self) -> None:
        """See `Progress.finish_first`."""
        self._finished.add(0)
        self._unfinished.discard(0)

    @property
    def is_finished(self) -> bool:
        """See `Progress.is_finished`."""
        return bool(self._finished) and not self._unfinished


class MessageProgress(Progress):
    """A stream of Anthropic's, in which the message must have a stop reason."""

    def __init__(self) -> None:
        self._has_stopped = False

    def read(self, event: Mapping[str, Any]) -> None:
        """See `Progress.read`."""
        delta = event.get("delta")
        if event.get("type") == "message_delta" and isinstance(delta, Mapping) and delta.get("stop_reason"):
            self._has_stopped = True

    @property
    def is_finished(self) -> bool:
        """See `Progress.is_finished`."""
        return self._has_stopped


def choices_in(event: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The choices of a chunk or of a whole answer; none where the server sent something else."""
    choices = event.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else ()


def chat_has_content(event: Mapping[str, Any]) -> bool:
    """Whether a chat chunk has a part of the answer, or finishes it."""
    return any(
        _reason(choice) is not None or any(value for key, value in _delta(choice).items() if key != "role")
        for choice in choices_in(event)
    )


def completion_has_content(event: Mapping[str, Any]) -> bool:
    """Whether a chunk of text completions has a part of the answer, or finishes it."""
    return any(choice.get("text") or _reason(choice) is not None for choice in choices_in(event))


def message_has_content(event: Mapping[str, Any]) -> bool:
    """Whether an event of Anthropic's has a part of the answer, or finishes it."""
    return event.get("type") in ("content_block_delta", "content_block_stop", "message_delta")


def response_has_content(event: Mapping[str, Any]) -> bool:
    """Whether an event of Responses has a part of the answer, or finishes it."""
    kind = event.get("type")
    return isinstance(kind, str) and (kind.endswith((".delta", ".done")) or kind in _RESPONSE_ENDS[:2])


def ends_message(event: Mapping[str, Any]) -> bool:
    """Whether it is Anthropic's closing event."""
    return event.get("type") == "message_stop"


def ends_response(event: Mapping[str, Any]) -> bool:
    """Whether it is the closing event of a Responses stream."""
    return event.get("type") in _RESPONSE_ENDS


def _delta(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    delta = choice.get("delta")
    return delta if isinstance(delta, dict) else {}


def _reason(choice: Mapping[str, Any]) -> Reason | None:
    try:
        return reason_of(choice)
    except ValueError:
        return None
