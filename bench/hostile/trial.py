"""One attack on one gateway, with honest clients before it and beside it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.gateway.contender import Contender
from bench.gateway.processes import Server, Start, free_port, running
from bench.hostile import gateways
from bench.hostile.attack import SPARE_FILES, Attack
from bench.hostile.attacks.tenants import FORGED_LINE, SECRET
from bench.hostile.bed import Bed, get
from bench.hostile.honest import ROOT, Ask, Clients, Seen, Watch, honest_clients
from bench.hostile.watching import Use, most_files, steady_mb, watching
from router.gateway.telemetry.counters import STALE_S

# What a killed worker was doing counts until its numbers are stale.
_GRACE_S = STALE_S + 5.0
# Between two looks at the memory of a gateway that has started whole.
_PAUSE_S = 0.25
_IN_FLIGHT = re.compile(rb"^pulvinar_requests_in_flight\S* (\S+)", re.MULTILINE)
_NEVER_LOGGED = {"a forged line": f"\n{FORGED_LINE}", "a secret of a URL": SECRET}


class Times(msgspec.Struct, frozen=True):
    """Seconds of honest clients alone, of an attack, and of honest clients after it."""

    alone_s: float = 2.0
    attack_s: float = 4.0
    after_s: float = 1.0


class Sides(msgspec.Struct, frozen=True):
    """Who is on both sides of every gateway that is attacked: the port of the model server, and honest clients."""

    upstream: int
    clients: Clients


class Result(msgspec.Struct, frozen=True):
    """What happened. `in_flight`: slots still taken after the attack; None where the gateway does not say.

    `files_after` is relative to before the attack. `charged_usd` and `delivered_usd` are of the attacker.
    """

    attack: str
    gateway: str
    without: Seen
    beside: Seen
    before_mb: float
    use: Use
    files_after: int
    in_flight: float | None
    charged_usd: float | None
    delivered_usd: float
    allowed_usd: float | None
    problems: list[str]


@contextlib.contextmanager
def upstream_process(scratch: Path) -> Iterator[int]:
    """The scripted model server; the value is its port."""
    port = free_port()
    command = (sys.executable, "-m", "bench.hostile.upstream", "--port", str(port))
    with running(Start(command, ROOT, port, ("/health",)), scratch / "upstream.log"):
        yield port


@contextlib.contextmanager
def both_sides() -> Iterator[Sides]:
    """The processes beside the gateways; they serve one attack after the other."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        upstream_process(Path(scratch)) as upstream,
        honest_clients() as clients,
    ):
        yield Sides(upstream, clients)


def try_attack(
    contender: Contender, attack: Attack, asks: tuple[Ask, ...], sides: Sides, scratch: Path, times: Times
) -> Result:
    """Start the gateway, attack it, and end it. Raises StartError if it does not start."""
    assert contender.start is not None
    get(sides.upstream, "/bench/reset")
    with running(contender.start, scratch / "serve.log") as server:
        return asyncio.run(_attack(server, contender, attack, asks, sides, scratch, times))


async def _attack(
    server: Server,
    contender: Contender,
    attack: Attack,
    asks: tuple[Ask, ...],
    sides: Sides,
    scratch: Path,
    times: Times,
) -> Result:
    native = contender.name == gateways.NAME
    honest = {"authorization": contender.headers[gateways.HONEST]} if native else contender.headers
    evil = {"authorization": contender.headers[gateways.EVIL]} if native else contender.headers
    health = "/healthz" if native else (*contender.start.ready, "/")[0] if contender.start else "/"
    plan = Watch(server.port, honest, asks, times.alone_s, health, retries=attack.honest_retries)
    without = await sides.clients.watch(msgspec.structs.replace(plan, warm_s=0.5))
    grows = not native or attack.workers > 1 or attack.anthropic
    before_mb = await asyncio.to_thread(steady_mb, server, 1.0 if grows else _PAUSE_S)
    files_before, _ = most_files(server)
    bed = Bed(server, sides.upstream, contender.path, contender.model, evil, honest, 0.0)
    with watching(server) as use:
        seconds, started = times.attack_s + times.after_s, asyncio.Event()
        beside = asyncio.ensure_future(sides.clients.watch(msgspec.structs.replace(plan, seconds=seconds), started))
        await started.wait()
        bed.ends = time.monotonic() + times.attack_s
        try:
            async with asyncio.timeout(times.attack_s + 30):
                problems = await attack.run(bed)
        except TimeoutError:
            problems = ["the attack did not end: the gateway holds its client"]
        seen = await beside
    in_flight, files_after = await _settled(server, files_before, native)
    bills = await asyncio.to_thread(bed.bills)
    charged = None
    if native and attack.evil.get("budget_usd_per_day"):
        charged = await gateways.charged_usd(scratch, gateways.EVIL, attack.state_url) or 0.0
    delivered = bills.of(gateways.EVIL).output_tokens * gateways.DEAR_USD_A_TOKEN
    if bills.fetched:
        problems.append(f"fetched {bills.fetched} internal addresses that a client named")
    problems += _log_problems(scratch / "serve.log") if native else []
    return Result(
        attack.name,
        contender.name,
        without,
        seen,
        before_mb,
        use,
        files_after,
        in_flight,
        charged,
        delivered,
        attack.allowed_usd,
        problems,
    )


async def _settled(server: Server, files_before: int, native: bool) -> tuple[float | None, int]:
    """The slots taken and the files opened since before the attack, as soon as both are low, or after a while."""
    deadline = time.monotonic() + _GRACE_S
    while True:
        in_flight = await asyncio.to_thread(_in_flight, server) if native else None
        files = most_files(server)[0] - files_before
        if (not in_flight and files <= SPARE_FILES) or time.monotonic() > deadline:
            return in_flight, files
        await asyncio.sleep(0.2)


def _in_flight(server: Server) -> float:
    try:
        match = _IN_FLIGHT.search(get(server.port, "/metrics"))
    except OSError:
        return float("inf")
    return float(match[1]) if match else float("inf")


def _log_problems(log: Path) -> list[str]:
    text = log.read_text(errors="replace")
    tracebacks = text.count("\nTraceback (most recent call last)")
    problems = [f"{tracebacks} tracebacks in the log"] * bool(tracebacks)
    return problems + [f"{label} in the log" for label, part in _NEVER_LOGGED.items() if part in text]
