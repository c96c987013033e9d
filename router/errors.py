"""One tree of errors, divided by who can correct them: the caller, the operator, the upstream.

Each branch has the exit code of the command line. Only the gateway turns errors into JSON.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar, TypeVar

Failure = TypeVar("Failure", bound=BaseException)


class PulvinarError(Exception):
    """The base of all errors; `str(error)` is a message for the user that says what to change."""

    exit_code: ClassVar[int] = 1


class CallerError(PulvinarError):
    """The request is invalid: a bad flag, an empty prompt, limits that no card meets."""

    exit_code: ClassVar[int] = 2


class FieldError(CallerError):
    """The field `param` of the request is invalid."""

    def __init__(self, param: str, problem: str) -> None:
        self.param = param
        super().__init__(f"`{param}` {problem}")


class FlagError(CallerError):
    """A flag cannot be parsed. `position` is the offset in `source`, from 0, at which parsing stopped."""

    def __init__(self, problem: str, source: str, position: int) -> None:
        self.problem, self.source, self.position = problem, source, position
        super().__init__(f"{problem}\n  {source}\n  {' ' * position}^")


class NoCandidateError(CallerError):
    """No card passes every limit."""


class PromptFlagError(CallerError):
    """No card meets the limits of a flag in the prompt, which may only narrow the choice."""


class PermissionDeniedError(CallerError):
    """The API key does not allow what the request asks for."""


class UnknownIdError(FieldError):
    """The field `param` of the request refers to nothing that the API key has made."""


class ConflictError(CallerError):
    """The request contradicts an earlier one."""


class UnknownModelError(CallerError):
    """The request names a model, card or policy that does not exist."""


class InvalidKeyError(CallerError):
    """The request has no API key, or an invalid one."""


class RateLimitError(CallerError):
    """The API key's rate limit is exceeded. `retry_after_s` is the number of seconds to wait."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class BudgetError(CallerError):
    """The API key's daily budget does not allow the request now.

    `retry_after_s` is the number of seconds until money returns: to the next day in UTC where `is_spent`, else to the
    end of running requests, which have reserved it.
    """

    def __init__(self, message: str, retry_after_s: float, *, is_spent: bool = True) -> None:
        self.retry_after_s, self.is_spent = retry_after_s, is_spent
        super().__init__(message)


class ConfigurationError(PulvinarError):
    """A card, policy, artifact, data set or setting is invalid."""

    exit_code: ClassVar[int] = 3


class PassingError(PulvinarError):
    """A condition of the machine that may pass by itself: a port in use, a store that cannot be written now.

    The exit code is that of `EX_TEMPFAIL`: a service manager should start the program again.
    """

    exit_code: ClassVar[int] = 75


class FileError(ConfigurationError):
    """A file is invalid. The message begins with `file:line:`, so that editors can jump to the place."""

    def __init__(self, file: str, line: int | None, problem: str) -> None:
        self.file, self.line, self.problem = file, line, problem
        where = file if line is None else f"{file}:{line}"
        super().__init__(f"{where}: {problem}")

    def __reduce__(self) -> tuple[type[FileError], tuple[str, int | None, str]]:
        # So that it can be raised in another process.
        return type(self), (self.file, self.line, self.problem)


class ArtifactError(ConfigurationError):
    """A trained artifact is missing, damaged or of another version."""


class MissingExtraError(ConfigurationError):
    """An optional dependency is not installed; `extra` installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'pulvinar[{extra}]'")


class UpstreamError(PulvinarError):
    """The model's server failed.

    `status` is the HTTP status for the client, `fault` the kind of failure in one word: `unreachable`, `late`, `cut` …
    `delivered_tokens` estimates what had arrived of a whole answer.
    """

    exit_code: ClassVar[int] = 4
    delivered_tokens: int = 0

    def __init__(self, message: str, status: int = 502, fault: str = "failed") -> None:
        self.status, self.fault = status, fault
        super().__init__(message)


class BusyError(PulvinarError):
    """Every model that could answer is at capacity, rate limited or cooling down.

    `retry_after_s` is the number of seconds to wait. `status` is 429 where limits of the upstreams are the cause, and
    503 where limits of the gateway are.
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, message: str, retry_after_s: float, status: int = 503) -> None:
        self.retry_after_s, self.status = retry_after_s, status
        super().__init__(message)


_LONGEST_NAME = 200


def excerpt(name: str) -> str:
    """`name` for an error message: only its beginning where it is longer than any name can be."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suffix for an error message, such as `; did you mean "price"?`; empty where no known word is similar."""
    # No name is that long, and a comparison takes time and memory with the length.
    if len(word) > _LONGEST_NAME:
        return ""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def without_frames(error: Failure) -> Failure:
    """The error without what it was raised in. Where a variable refers to it, its frames and it refer to each other,
    and what they hold, such as a large answer, stays until the garbage collector runs.
    """
    error.__context__ = None
    return error.with_traceback(None)
