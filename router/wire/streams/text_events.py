"""Recognise the events of a stream that only continue a text, without searching or decoding them."""

from __future__ import annotations

import re

_BACKSLASH = ord("\\")
# Where these follow a string, it is no field's name.
_AFTER_TEXT = (b'",', b'"}')
_BLANK_LINE = b"\n\n"
_LINE_ENDS = (b"\n", b"\r")
_MAX_LESSONS = 16
# From so many events on, one search for all of them takes less than one for each.
_MANY = 4
# What is split at once. All that has arrived may be a megabyte, and would be copied after each event of another form.
_SPLIT_BYTES = 16 * 1024
_NEVER_INSIDE = (b'"', *_LINE_ENDS)


class TextEvents:
    """Knows the form of a stream's events from one that was found to be of no interest but for its only text: the bytes
    before and after that. Most servers repeat them. An event that has another text in the same form, which is one JSON
    string without line ends, is of no interest either: what matters in an event is a field of its own.

    `texts` matches the texts of events. Nothing is learnt from a stream whose form changes with every event.
    """

    def __init__(self, texts: re.Pattern[bytes]) -> None:
        self._texts = texts
        self._before = self._after = b""
        self._lessons = _MAX_LESSONS

    def learn(self, event: bytes) -> None:
        """Learn from a whole event that is of no interest but for its text."""
        if not self._lessons or b"\r" in event or not event.endswith(_BLANK_LINE) or event.startswith(b"\n"):
            return
        self._lessons -= 1
        found = [*self._texts.finditer(event)]
        if len(found) == 1 and event.startswith(_AFTER_TEXT, found[0].end(1)):
            self._before, self._after = event[: found[0].start(1)], event[found[0].end(1) :]

    def know(self, before: bytes, after: bytes) -> None:
        """Take over the form of an event that is of no interest but for its only text, which `after` ends. The event
        has no CR, and one empty line.
        """
        self._before, self._after = before, after

    def skip(self, events: bytes, at: int, texts: list[bytes]) -> int:
        """The position of the first event, from that at `at` on, which is not of the known form; the length of `events`
        where there is none. The texts of those before it are added to `texts`.
        """
        before, after = self._before, self._after
        if not before or not events.startswith(before, at):
            return at
        while (end := self._skip_many(events, at, texts)) > at:
            at = end
        while events.startswith(before, at):
            start = at + len(before)
            end = events.find(b'"', start)
            # An escaped quote is a part of the text. Which one ends it is not counted where there are more backslashes.
            while end > start and events[end - 1] == _BACKSLASH != events[end - 2]:
                end = events.find(b'"', end + 1)
            if end < 0 or events[end - 1] == _BACKSLASH or not events.startswith(after, end):
                break
            text = events[start:end]
            if b"\n" in text or b"\r" in text:
                break
            if events.startswith(_LINE_ENDS, end + len(after)):
                # They belong to the event.
                break
            texts.append(text)
            at = end + len(after)
            self._lessons = _MAX_LESSONS
        return at

    def _skip_many(self, events: bytes, at: int, texts: list[bytes]) -> int:
        """As `skip`, of the next events that arrived together, without the last of them: all at once where no text has
        a quote, else none.
        """
        before, after = self._before, self._after
        size = len(before) + len(after)
        if not before or len(events) - at <= _MANY * size or not events.startswith(before, at):
            return at
        if not events.startswith(after + before, events.find(b'"', at + len(before))):
            # Events of different forms alternate.
            return at
        # To split by the long bytes between two texts would take several times as long.
        whole, rest, start = [], after[: -len(_BLANK_LINE)], len(before)
        for event in events[at : at + _SPLIT_BYTES].split(_BLANK_LINE):
            if not (event.startswith(before) and event.endswith(rest) and len(event) >= start + len(rest)):
                break
            whole.append(event[start : len(event) - len(rest)])
        # More line ends may follow the last one.
        joined = b"".join(whole[:-1])
        if not joined or any(each in joined for each in _NEVER_INSIDE):
            return at
        if b"\\" in joined and any(text.endswith(b"\\") for text in whole):
            return at
        del whole[-1]
        texts += whole
        self._lessons = _MAX_LESSONS
        return at + len(joined) + len(whole) * size
