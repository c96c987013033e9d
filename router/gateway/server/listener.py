"""The sockets on which the gateway listens: an address and a port, or a unix socket."""

from __future__ import annotations

import contextlib
import errno
import socket
import stat
from pathlib import Path

from router.errors import ConfigurationError, PassingError

# The owner and the group, so that a reverse proxy in the group may connect.
_MODE = 0o660
_SEND_BYTES = 2**18
# Another process may end, an address may be added, a file system be repaired.
_PASSING = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EROFS, errno.ENOSPC, errno.EMFILE, errno.ENFILE})


def listen(host: str, port: int) -> socket.socket:
    """Bind a socket to the address. Raises PassingError if it is in use or not there, else ConfigurationError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets whose protocol is TCP; without it, small events are delayed by 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Connections inherit it. The system would keep up to 4 MiB for each client that does not read, all of which the
    # gateway would have to read and count first.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise _error(f"{shown(host)}:{port}", error) from None
    return listener


def listen_at(path: Path) -> socket.socket:
    """Bind a unix socket at `path`, in place of one that no process listens on.

    Raises PassingError where another process listens there, else ConfigurationError.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(str(path))
        path.chmod(_MODE)
    except OSError as error:
        listener.close()
        raise _error(f"the unix socket {path}", error) from None
    except (ConfigurationError, PassingError):
        listener.close()
        raise
    return listener


def without_brackets(host: str) -> str:
    """An IPv6 address may be written as in a URL."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def shown(host: str) -> str:
    """The host as it is written in a URL."""
    return f"[{host}]" if ":" in host else host


def _error(where: str, error: OSError) -> ConfigurationError | PassingError:
    kind = PassingError if error.errno in _PASSING else ConfigurationError
    return kind(f"cannot listen on {where}: {error.strerror or error}")


def _remove_stale(path: Path) -> None:
    try:
        is_socket = stat.S_ISSOCK(path.stat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise ConfigurationError(f"{path}: exists and is not a socket; name another path for --uds")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        with contextlib.suppress(ConnectionRefusedError):
            client.connect(str(path))
            raise PassingError(f"{path}: another process listens on this socket")
    path.unlink()
