"""A client for upstreams of HTTP/2, where a card or gateway.yaml asks for it; of HTTP/1.1 for the others.

The protocol is that of the library h2, which is imported with the first connection that may speak it.
"""

from router.dispatch.http2.client import Client

__all__ = ["Client"]
