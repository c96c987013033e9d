"""One tree of errors, split by whose fault it is.

Each branch has the exit code that the command line ends with. Only the gateway turns an error into JSON.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class PulvinarError(Exception):
    """Something went wrong, and `str(error)` tells the reader what to change."""

    exit_code: ClassVar[int] = 1


class CallerError(PulvinarError):
    """The request is at fault: a bad flag, an empty prompt, limits that no card meets."""

    exit_code: ClassVar[int] = 2


class FieldError(CallerError):
    """A field of the request is wrong; `param` names it."""

    def __init__(self, param: str, problem: str) -> None:
        self.param = param
        super().__init__(f"`{param}` {problem}")


class FlagError(CallerError):
    """A flag cannot be read.

    `position` is the zero-based offset in `source` at which reading stopped.
    """

    def __init__(self, problem: str, source: str, position: int) -> None:
        self.problem, self.source, self.position = problem, source, position
        super().__init__(f"{problem}\n  {source}\n  {' ' * position}^")


class NoCandidateError(CallerError):
    """No card passes every limit."""


class UnknownModelError(CallerError):
    """The caller asked for a model, card or policy that does not exist."""


class InvalidKeyError(CallerError):
    """The request has no key, or one that opens nothing."""


class RateLimitError(CallerError):
    """The caller asks too often. `retry_after_s` is how many seconds to wait."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class BudgetError(CallerError):
    """The caller's money for today is spent. `retry_after_s` is how many seconds are left of the day, in UTC."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class ConfigurationError(PulvinarError):
    """A card, policy, artifact, data set or setting is at fault."""

    exit_code: ClassVar[int] = 3


class FileError(ConfigurationError):
    """A file is at fault; the message begins with `file:line:`, so that editors can jump there."""

    def __init__(self, file: str, line: int | None, problem: str) -> None:
        self.file, self.line, self.problem = file, line, problem
        where = file if line is None else f"{file}:{line}"
        super().__init__(f"{where}: {problem}")


class ArtifactError(ConfigurationError):
    """A trained artifact is missing, damaged or of another version."""


class MissingExtraError(ConfigurationError):
    """An optional dependency is needed for what was asked."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'pulvinar[{extra}]'")


class UpstreamError(PulvinarError):
    """The model's server is at fault. `status` is the HTTP status that the client should see, `fault` the kind of
    failure in a word: `unreachable`, `late`, `cut` …
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, message: str, status: int = 502, fault: str = "failed") -> None:
        self.status, self.fault = status, fault
        super().__init__(message)


class BusyError(PulvinarError):
    """Everything that could answer is busy, resting or at its limits; `retry_after_s` says when to ask again.
    `status` is 429 where upstreams' limits are the cause, and 503 where the gateway's are.
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, message: str, retry_after_s: float, status: int = 503) -> None:
        self.retry_after_s, self.status = retry_after_s, status
        super().__init__(message)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A closing clause such as `; did you mean "price"?`, or an empty string where nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""
