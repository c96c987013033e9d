"""A client for HTTP/1.1 upstreams: connections that are kept open, TLS, and proxies."""

from router.dispatch.http1.answer import Answer
from router.dispatch.http1.client import Client, Prepared
from router.dispatch.http1.errors import BrokenError, ConnectError, ConnectTimeoutError, ProtocolError
from router.dispatch.http1.target import Target, target_of

__all__ = [
    "Answer",
    "BrokenError",
    "Client",
    "ConnectError",
    "ConnectTimeoutError",
    "Prepared",
    "ProtocolError",
    "Target",
    "target_of",
]
