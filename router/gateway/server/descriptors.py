"""How many files and sockets this process may open, and the share of them that connections of clients may use."""

from __future__ import annotations

import resource

# Raised no further: some libraries visit every possible descriptor.
_ENOUGH = 2**20
_LOW = 4096
_FEWEST_CLIENTS = 8
# Files of the store, logs, the configuration, libraries.
_FILES = 96


def raise_descriptor_limit() -> int:
    """Raise the limit of open descriptors as far as this process may, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _ENOUGH if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        return soft
    return wanted


def client_connections(descriptors: int) -> int:
    """The connections of clients that a process with so many descriptors may have.

    Each may need one to an upstream, too; files and the state need some more.
    """
    files = min(_FILES, descriptors // 2)
    return max((descriptors - files) // 2, _FEWEST_CLIENTS)


def warning(descriptors: int) -> str | None:
    """A line for the operator where the limit is low."""
    if descriptors >= _LOW:
        return None
    return (
        f"only {descriptors} files may be open at once (ulimit -n), so a worker serves at most "
        f"{client_connections(descriptors)} connections; allow {_LOW} or more, as LimitNOFILE in systemd does"
    )
