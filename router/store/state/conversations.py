"""The conversations of a single worker, in memory: nothing else asks for them, and a restart may forget them."""

from __future__ import annotations

import collections
import math

from router.store.state.limits import digest
from router.store.state.protocol import LastAnswer

MAX_SESSIONS = 100_000
SESSION_AGE_S = 86_400.0


class MemoryConversations:
    """The `Conversations` of one event loop.

    One is forgotten `session_age_s` after its last answer; where there are more than `max_sessions`, those go whose
    last answer is the oldest.
    """

    def __init__(self, *, max_sessions: int = MAX_SESSIONS, session_age_s: float = SESSION_AGE_S) -> None:
        self._max_sessions, self._session_age_s = max_sessions, session_age_s
        # The least recently answered first.
        self._answers: collections.OrderedDict[bytes, tuple[LastAnswer, int]] = collections.OrderedDict()

    async def last_answer(self, session: str, now_s: float, key_id: str = "") -> LastAnswer | None:
        """See `Conversations`."""
        last, seen_s = self._answers.get(digest(key_id, session), (None, 0))
        return last if seen_s > math.floor(now_s - self._session_age_s) else None

    async def remember(self, session: str, answer: LastAnswer, now_s: float, key_id: str = "") -> None:
        """See `Conversations`. The session name is stored as a hash only."""
        answers, name = self._answers, digest(key_id, session)
        answers[name] = answer, int(now_s)
        answers.move_to_end(name)
        oldest = math.floor(now_s - self._session_age_s)
        while len(answers) > self._max_sessions or next(iter(answers.values()))[1] <= oldest:
            answers.popitem(last=False)
