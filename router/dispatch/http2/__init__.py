"""A client for upstreams of HTTP/2, where a card or gateway.yaml asks for it; of HTTP/1.1 for the others.

The protocol is that of the library h2 (MIT, maintained, pure Python, without input or output), which is imported with
the first connection that may speak it. httpx and httpcore use it, too, but do not report which requests the server has
not begun.
"""

from router.dispatch.http2.client import Client

__all__ = ["Client"]
