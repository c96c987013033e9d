"""What a gateway costs: `python -m bench.gateway`.

Pulvinar with routing on and off, and every other gateway that `scripts/peers` has installed: each kept on one core, the
same cheap upstream behind it in another process, the same client before it in a third. Nobody is asked the same twice.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import msgspec

from bench.gateway import pulvinar
from bench.gateway.contender import Contender
from bench.gateway.measure import Bench, Lane, Plan
from bench.gateway.processes import Server, Start, StartError, free_port, running
from bench.gateway.prompts import write_prompts
from bench.gateway.report import start_table, tables
from bench.gateway.targets import targets
from bench.peers import DEFAULT_FOLDER, PEERS, absence

_ROOT = Path(__file__).parents[2]
_DIRECT = "no gateway"
_OURS = "pulvinar"


def main() -> None:
    """Print the tables."""
    chosen = _arguments()
    plan = Plan(
        rounds=chosen.rounds,
        requests=chosen.requests,
        connections=chosen.connections,
        rates=tuple(chosen.rate),
        stream_rate=chosen.stream_rate,
        pace_ms=chosen.pace,
        seconds=chosen.seconds,
        limit_s=chosen.limit,
        modes=tuple(chosen.modes),
    )
    # A kill ends the servers as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pulvinar-bench-")))
        try:
            _measure(stack, scratch, plan, chosen)
        except StartError as error:
            sys.exit(f"bench.gateway: {error}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=[_OURS, *(peer.key for peer in PEERS)], help="these gateways (default: all)"
    )
    parser.add_argument("--peers-folder", type=Path, default=DEFAULT_FOLDER, help="where scripts/peers installed them")
    parser.add_argument("--rounds", type=int, default=3, help="how often everybody has a turn at everything")
    parser.add_argument("--requests", type=int, default=4_000, help="of a closed loop; a quarter of it are streams")
    parser.add_argument("--connections", type=int, default=8, help="of a closed loop")
    parser.add_argument("--rate", nargs="+", type=float, default=[50.0, 200.0], help="requests/s of open loops")
    parser.add_argument("--stream-rate", type=float, default=10.0, help="streams/s of the open loop")
    parser.add_argument("--pace", type=float, default=10.0, help="ms between the events of a stream in the open loop")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long an open loop lasts")
    parser.add_argument("--limit", type=float, default=20.0, help="s after which a closed loop asks no more")
    parser.add_argument("--modes", nargs="+", choices=["json", "stream"], default=["json", "stream"])
    parser.add_argument("--starts", type=int, default=5, help="how often the start of `route serve` is timed")
    parser.add_argument(
        "--prompts", type=Path, help="a prompts.jsonl[.gz] to ask from, again and again where it is short"
    )
    parser.add_argument("--serve", default="", help="more arguments of `route serve`, in one string")
    parser.add_argument("--settings", type=Path, help="the gateway.yaml of Pulvinar (default: none)")
    parser.add_argument("--shared-cores", action="store_true", help="do not give gateways a core by themselves")
    parser.add_argument("--json", type=Path, help="write every figure of every round here")
    return parser.parse_args()


def _starts(scratch: Path, count: int) -> list[Server]:
    """`route serve` with the catalogue as it comes, started again and again."""
    servers = []
    for number in range(count):
        with running(pulvinar.untouched(scratch, number), scratch / "start.log") as server:
            servers.append(server)
    return servers


def _measure(stack: contextlib.ExitStack, scratch: Path, plan: Plan, chosen: argparse.Namespace) -> None:
    load, *_ = os.getloadavg()
    starts = _starts(scratch, chosen.starts)
    own, others = _cores(chosen.shared_cores)
    if own:
        os.sched_setaffinity(0, others)
    prompts, models = scratch / "prompts", scratch / "models"
    write_prompts(prompts, plan.prompts, chosen.prompts)
    models.write_text("\n".join(["bench", *pulvinar.model_names()]))
    port = free_port()
    command = (sys.executable, "-m", "bench.upstream", "--port", str(port), "--models", str(models))
    start = Start(command, _ROOT, port, ("/health",))
    upstream = stack.enter_context(running(start, scratch / "upstream.log"))
    bench = Bench(plan, upstream, prompts)
    lanes = [Lane(Contender(_DIRECT, None, "bench"), None)]
    contenders, absent = _contenders(scratch, port, chosen)
    for contender in contenders:
        try:
            lane = Lane(contender, _started(stack, contender, scratch, own))
        except StartError as error:
            absent[contender.name] = f"did not start: {error}"
            continue
        if wrong := bench.warm_up(lane):
            absent[contender.name] = f"did not answer: {wrong}"
        else:
            lanes.append(lane)
    for number, phase in bench.run(lanes):
        print(f"round {number} of {plan.rounds}: {phase}", file=sys.stderr, flush=True)
    measured = (tables(lanes, plan, absent), targets(lanes, plan, starts))
    print("\n\n".join(filter(None, (_machine(own, others, load), start_table(starts), *measured))))
    if chosen.json:
        shown = {lane.contender.name: lane.figures for lane in lanes}
        chosen.json.write_bytes(
            msgspec.json.format(msgspec.json.encode({"plan": plan, "lanes": shown, "absent": absent}))
        )


def _started(stack: contextlib.ExitStack, contender: Contender, scratch: Path, cores: frozenset[int]) -> Server | None:
    if contender.start is None:
        return None
    log = scratch / f"{contender.name.replace(' ', '-')}.log"
    return stack.enter_context(running(contender.start, log, cores))


def _contenders(scratch: Path, upstream: int, chosen: argparse.Namespace) -> tuple[list[Contender], dict[str, str]]:
    """Who takes part, and why others do not."""
    wanted = chosen.only or [_OURS, *(peer.key for peer in PEERS)]
    found, absent = [], {}
    if _OURS in wanted:
        settings = chosen.settings.resolve() if chosen.settings else None
        found += pulvinar.contenders(scratch, upstream, shlex.split(chosen.serve), settings)
    folder = chosen.peers_folder.resolve()
    for peer in PEERS:
        if peer.key not in wanted:
            continue
        if why := absence(peer, folder):
            absent[peer.name] = why
            continue
        (scratch / peer.key).mkdir()
        found.append(peer.contender(folder / peer.key, scratch / peer.key, upstream))
    return found, absent


def _cores(shared: bool) -> tuple[frozenset[int], frozenset[int]]:
    """The core of the gateways, and those of upstream and client; empty where there is only one for all."""
    *others, own = sorted(os.sched_getaffinity(0))
    if shared or not others or shutil.which("taskset") is None:
        return frozenset(), frozenset()
    return frozenset({own}), frozenset(others)


def _machine(own: frozenset[int], others: frozenset[int], load: float) -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    cores = f"gateways are kept on one core, upstream and client have {len(others)}" if own else "all cores are shared"
    return f"{model}; {cores}; load average before: {load:.2f}"


if __name__ == "__main__":
    main()
