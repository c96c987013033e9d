"""Media that a client names by its URL, at providers for which litellm would fetch it.

The gateway stands in the operator's network, so it fetches nothing that a client names, unless the operator allows the
host. Then it fetches by itself, before litellm sees the request: from public addresses only, without redirects, and
from the address that was checked.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from router.errors import FieldError
from router.formats.net import host_of

if TYPE_CHECKING:
    from aiohttp.abc import ResolveResult

_MAX_BYTES = 20 * 1024 * 1024
_TIMEOUT_S = 10.0
_MAX_URLS = 20
_MAX_DEPTH = 12
# A scheme and a slash, as lenient as any parser; base64 has no colon.
_URL = re.compile(r"[\x00-\x20\ufeff]*([A-Za-z][A-Za-z0-9+.\-]{0,30}):[\x00-\x20]*[/\\]")
# The data itself, and the stores that only the provider reads.
_NEVER_FETCHED = frozenset({"data", "gs", "s3"})
# What a model reads as text, in which URLs are words.
_TEXTS = frozenset(
    {"annotations", "arguments", "citations", "context", "filename", "input", "name", "text", "thinking", "title"}
)
_MEDIA_TYPE = re.compile(r"(?:image|audio|video)/[a-z0-9.+-]{1,60}|application/pdf")
_BY_ITSELF = frozenset({"anthropic"})
"""The providers that litellm gives an image's https URL as it is."""


async def with_media(messages: Any, provider: str, hosts: Sequence[str]) -> Any:
    """Chat messages in which the provider, and not litellm, reads every URL of media.

    `hosts` are the hosts, or patterns such as `*.example.org`, from which media are fetched and put in as data. Raises
    FieldError for any other URL, before a request is sent.
    """
    found = {
        url: path for path, url in urls_in(messages) if not (provider in _BY_ITSELF and _is_image_by_https(path, url))
    }
    if not found:
        return messages
    for url, path in found.items():
        if len(found) > _MAX_URLS or not is_allowed(url, hosts):
            raise _refused(path)
    data = {url: await _fetched(url, path) for url, path in found.items()}
    return _replaced(messages, data)


def urls_in(messages: Any) -> Iterator[tuple[str, str]]:
    """The path and the text of every URL in the parts of chat messages, without those in texts."""
    for position, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, Mapping) else None
        if not isinstance(content, str):
            yield from _urls(content, f"messages[{position}].content", 0)


def is_allowed(url: str, hosts: Sequence[str]) -> bool:
    """Whether the operator allows the host of this http(s) URL."""
    host = host_of(url) if url.startswith(("http://", "https://")) else ""
    return bool(host) and any(
        host.endswith(each[1:].lower()) if each.startswith("*.") else host == each.lower() for each in hosts
    )


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        # Addresses that contain another one reach that one.
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo or (None, None))[1]
        if inner is not None:
            return is_public(str(inner))
        if parsed in _NAT64:
            return is_public(str(ipaddress.IPv4Address(parsed.packed[-4:])))
    return parsed.is_global and not parsed.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _urls(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _MAX_DEPTH:
        raise FieldError(path, "is nested too deeply")
    if isinstance(value, str):
        scheme = _URL.match(value)
        if scheme is not None and scheme[1].lower() not in _NEVER_FETCHED:
            yield path, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            # The source of a search result is a name; that of an image or a document is an object.
            if name not in _TEXTS and not (name in ("source", "content") and isinstance(inner, str)):
                yield from _urls(inner, f"{path}.{name}", depth + 1)
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _urls(inner, f"{path}[{position}]", depth + 1)


def _is_image_by_https(path: str, url: str) -> bool:
    return url.startswith("https://") and path.endswith((".image_url", ".image_url.url"))


def _replaced(value: Any, data: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return data.get(value, value)
    if isinstance(value, Mapping):
        return {name: inner if name in _TEXTS else _replaced(inner, data) for name, inner in value.items()}
    return [_replaced(inner, data) for inner in value] if isinstance(value, list) else value


def _refused(path: str) -> FieldError:
    return FieldError(
        path,
        "names a URL, which the gateway does not fetch; send the content itself (data:…;base64,…), or ask the operator "
        "to allow the host (`fetch_hosts` in gateway.yaml)",
    )


async def _fetched(url: str, path: str) -> str:
    """The content of an allowed URL as a `data:` URL. Raises FieldError."""
    # Imported here: few gateways fetch anything.
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        if not _may_be_public(host_of(url)):
            raise FieldError(path, "names a host without a public address")
        connector = aiohttp.TCPConnector(resolver=_PublicResolver(), use_dns_cache=False)  # type: ignore[arg-type]
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            kind = response.content_type
            if response.status != 200 or not _MEDIA_TYPE.fullmatch(kind):
                raise FieldError(path, "names a URL that does not answer with an image, audio, video or PDF")
            content = bytearray()
            async for chunk in response.content.iter_chunked(64 * 1024):
                content += chunk
                if len(content) > _MAX_BYTES:
                    raise FieldError(path, f"names a file of more than {_MAX_BYTES // 2**20} MiB")
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        raise FieldError(path, "names a URL that cannot be fetched") from None
    encoded = await asyncio.to_thread(base64.b64encode, content)
    return f"data:{kind};base64,{encoded.decode()}"


def _may_be_public(host: str) -> bool:
    # A literal address never reaches the resolver of a connection.
    try:
        return is_public(host)
    except ValueError:
        return True


class _PublicResolver:
    """A resolver of aiohttp that finds public addresses. The connection uses the addresses that were checked, so a
    second answer of the name server changes nothing.
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        from aiohttp.abc import ResolveResult

        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [(entry[0], str(entry[4][0])) for entry in found]
        if not addresses or not all(is_public(address) for _, address in addresses):
            raise OSError("the name has an address that is not public")
        common = {"hostname": host, "port": port, "proto": 0, "flags": int(socket.AI_NUMERICHOST)}
        return [ResolveResult(**common, host=address, family=each) for each, address in addresses]  # type: ignore[typeddict-item]

    async def close(self) -> None:
        """Close nothing."""
