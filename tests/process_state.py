"""What tests have in common with the tests after them in the same process."""

from __future__ import annotations

import functools
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx._transports.default
import pytest
from _pytest.logging import LogCaptureHandler

_LOGGERS = tuple(map(logging.getLogger, ("", "router", "router.dispatch", "asyncio", "uvicorn")))
# Every server in this process sets their level, and that they pass nothing on.
_OF_SERVERS = tuple(map(logging.getLogger, ("uvicorn.error", "uvicorn.access")))
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)
# pytest sets the first for every phase. Libraries set the others when they are first imported.
_SET_BY_IMPORTS = ("PYTEST_", "TIKTOKEN_", "KMP_", "RAY_", "LITELLM_", "TORCHINDUCTOR_")


def _own(handlers: list[logging.Handler]) -> list[logging.Handler]:
    """Those that write something, except pytest's."""
    return [handler for handler in handlers if not isinstance(handler, LogCaptureHandler | logging.NullHandler)]


def _loggers() -> list[tuple[Any, ...]]:
    levels = [(logger, _own(logger.handlers), logger.level, logger.propagate, logger.disabled) for logger in _LOGGERS]
    return [*levels, *((logger, _own(logger.handlers)) for logger in _OF_SERVERS)]


def _variables() -> dict[bytes, bytes]:
    # What it holds, without decoding all of it twice a test.
    return dict(os.environ._data)  # type: ignore[attr-defined]


def _handlers() -> list[Any]:
    return [signal.getsignal(number) for number in _SIGNALS]


@pytest.fixture(autouse=True)
def no_test_changes_the_process() -> Iterator[None]:
    """A test that leaves the process in another state fails, rather than one of those after it: variables, working
    folder, handlers and levels of loggers, handlers of signals.
    """
    variables, folder, loggers, handlers = _variables(), Path.cwd(), _loggers(), _handlers()
    yield
    left: list[str] = []
    if (now := _variables()) != variables:
        changed = {os.fsdecode(name) for name, _ in variables.items() ^ now.items()}
        for name in sorted(name for name in changed if not name.startswith(_SET_BY_IMPORTS)):
            left.append(f"the variable {name}")
            if (old := variables.get(os.fsencode(name))) is None:
                del os.environ[name]
            else:
                os.environ[name] = os.fsdecode(old)
    if Path.cwd() != folder:
        left.append(f"the working folder {Path.cwd()}")
        os.chdir(folder)
    for old, new in zip(loggers, _loggers(), strict=True):
        if old != new:
            left.append(f"the logger {old[0].name!r}: {new[1:]} instead of {old[1:]}")
            logger, kept, *levels = old
            for handler in set(new[1]) - set(kept):
                logger.removeHandler(handler)
            if levels:
                logger.level, logger.propagate, logger.disabled = levels
    for number, old, new in zip(_SIGNALS, handlers, _handlers(), strict=True):
        if old != new:
            left.append(f"the handler of {number.name}: {new}")
            signal.signal(number, old)
    if left:
        pytest.fail(f"this test leaves behind, for the tests after it: {'; '.join(left)}", pytrace=False)


@pytest.fixture(autouse=True, scope="session")
def one_tls_context() -> None:
    """httpx reads the certificates of all authorities for every client, which takes longer than most tests."""
    default = httpx._transports.default  # type: ignore[attr-defined]
    make = default.create_ssl_context
    cached = functools.cache(make)

    def create_ssl_context(verify: Any = True, cert: Any = None, trust_env: bool = True) -> Any:
        if verify is True and cert is None and not trust_env:
            return cached(trust_env=False)
        return make(verify=verify, cert=cert, trust_env=trust_env)

    default.create_ssl_context = create_ssl_context
