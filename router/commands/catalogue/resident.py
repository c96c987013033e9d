"""`route adapters list|load|unload|pin|unpin`: what the servers of a running gateway hold, and orders to change it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from router import settings
from router.commands import options
from router.errors import CallerError, UpstreamError

_KEY = "PULVINAR_API_KEY"
# A load may take as long as `load_timeout` of the card, and the gateway ends the request after that.
_TIMEOUT_S = 660.0
_MAX_BYTES = 64 * 1024 * 1024

Url = Annotated[
    str,
    typer.Option(
        "--url", help=f"The gateway. An operator's key is read from {_KEY}.", envvar="PULVINAR_URL", show_envvar=True
    ),
]
Adapter = Annotated[str, typer.Argument(help="Id of the adapter's card.")]
Server = Annotated[str | None, typer.Option("--server", help="One server, by its name in `route adapters list`.")]
_DEFAULT_URL = f"http://{settings.DEFAULT_HOST}:{settings.DEFAULT_PORT}"


def register(app: typer.Typer) -> None:
    """Add the commands to the group `route adapters`."""
    for name, command in (("list", list_), ("load", load), ("unload", unload), ("pin", pin), ("unpin", unpin)):
        app.command(name)(command)


def list_(url: Url = _DEFAULT_URL, as_json: options.Json = False) -> None:
    """List what the servers of a running gateway hold."""
    _show(_call(url, "GET", "adapters"), as_json=as_json)


def load(adapter: Adapter, server: Server = None, url: Url = _DEFAULT_URL, as_json: options.Json = False) -> None:
    """Load an adapter: on the named server, else on the one that holds it or has most room."""
    _order(url, "load", adapter, server, as_json=as_json)


def unload(adapter: Adapter, server: Server = None, url: Url = _DEFAULT_URL, as_json: options.Json = False) -> None:
    """Unload an adapter, unless a call uses it: from the named server, else from all that hold it."""
    _order(url, "unload", adapter, server, as_json=as_json)


def pin(adapter: Adapter, server: Server = None, url: Url = _DEFAULT_URL, as_json: options.Json = False) -> None:
    """Load an adapter and keep it until `unpin`, or until the gateway restarts: `adapters.pinned` of the base's card
    lasts.
    """
    _order(url, "pin", adapter, server, as_json=as_json)


def unpin(adapter: Adapter, server: Server = None, url: Url = _DEFAULT_URL, as_json: options.Json = False) -> None:
    """Keep an adapter no longer than others."""
    _order(url, "unpin", adapter, server, as_json=as_json)


def _order(url: str, order: str, adapter: str, server: str | None, *, as_json: bool) -> None:
    body = {"adapter": adapter} if server is None else {"adapter": adapter, "server": server}
    _show(_call(url, "POST", f"adapters/{order}", body), as_json=as_json)


def _call(url: str, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
    import asyncio

    return asyncio.run(_answer(url.rstrip("/").removesuffix("/v1"), method, path, body))


async def _answer(base: str, method: str, path: str, body: dict[str, str] | None) -> dict[str, Any]:
    """The answer of the gateway. Raises CallerError for what it refuses, and UpstreamError where it does not answer."""
    import aiohttp
    import msgspec

    from router.formats.net import parse_url

    if not base.startswith(("http://", "https://")) or parse_url(base) is None:
        raise CallerError(f"--url: {base} is no URL of a gateway, such as {_DEFAULT_URL}")
    key = settings.variable(_KEY)
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers, trust_env=False) as session,
            session.request(method, f"{base}/{path}", json=body, allow_redirects=False) as response,
        ):
            status, raw = response.status, await response.content.read(_MAX_BYTES)
            while piece := await response.content.read(_MAX_BYTES):
                raw += piece
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        why = str(error) or type(error).__name__
        raise UpstreamError(f"no gateway answers at {base}: {why}; is `route serve` running?") from None
    try:
        decoded = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        decoded = None
    if status != 200 or not isinstance(decoded, dict):
        raise _refusal(base, status, decoded)
    return decoded


def _refusal(base: str, status: int, answer: Any) -> CallerError | UpstreamError:
    error = answer.get("error") if isinstance(answer, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    if message is None:
        return UpstreamError(f"{base} answers with status {status}, not as a gateway of this release does")
    hint = f" (the key is read from {_KEY})" if status in (401, 403) else ""
    return CallerError(f"{message}{hint}") if status < 500 else UpstreamError(str(message), status)


def _show(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        options.print_json(answer)
        return
    from rich.markup import escape

    from router.commands.render import console, table

    out, servers = console(), answer.get("servers", [])
    if not servers:
        out.print("no server holds adapters: no base's card states `adapters`")
    for server in servers:
        out.print(escape(_summary(server)))
        if server["adapters"]:
            shown = table("card", "name there", "state", "calls", "idle", "ttl", right=("calls", "idle", "ttl"))
            for each in server["adapters"]:
                shown.add_row(*map(escape, _row(each)))
            out.print(shown)
        for card, problem in sorted(server["problems"].items()):
            out.print(escape(f"{card} failed to load: {problem}"))


def _summary(server: dict[str, Any]) -> str:
    managed = "" if server["manages"] else ", which loads by itself"
    counts = ", ".join(f"{server[name]} {name}" for name in ("hits", "loads", "evictions", "waits", "failures"))
    held = f"{len(server['adapters'])} of {server['slots']} slots"
    return f"{server['server']}: {server['kind']}{managed} at {server['url']}: {held}; {counts}"


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    from router.formats import units

    state = each["state"] + (", pinned" if each["pinned"] else "")
    if each["on_gpu"] is not None:
        state += ", on the GPU" if each["on_gpu"] else ", not on the GPU"
    times = (each["idle_s"] if not each["uses"] else None, each["ttl_s"])
    shown = ("" if seconds is None else units.show_milliseconds(seconds * 1000) for seconds in times)
    return (each["card"] or "no card", each["adapter"], state, str(each["uses"]), *shown)
