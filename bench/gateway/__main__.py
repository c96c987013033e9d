"""CPU, latency and memory of gateways: `python -m bench.gateway`.

Pulvinar with routing on and off, and every other gateway that `scripts/peers` has installed: all pinned to one core,
with the same fast upstream in another process and the same client in a third. No prompt is sent twice.
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
from bench.gateway.measure import Bench, Plan, Trial
from bench.gateway.processes import Server, Start, StartError, free_port, running
from bench.gateway.prompts import write_prompts
from bench.gateway.report import start_table, tables
from bench.gateway.targets import targets
from bench.peers import DEFAULT_FOLDER, PEERS, absence

_ROOT = Path(__file__).parents[2]
_DIRECT = "no gateway"
_PULVINAR = "pulvinar"


def main() -> None:
    """Print the tables."""
    options = _arguments()
    plan = Plan(
        rounds=options.rounds,
        requests=options.requests,
        connections=options.connections,
        rates=tuple(options.rate),
        stream_rate=options.stream_rate,
        pace_ms=options.pace,
        seconds=options.seconds,
        limit_s=options.limit,
        modes=tuple(options.modes),
    )
    # On SIGTERM, end the servers as on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pulvinar-bench-")))
        try:
            _measure(stack, scratch, plan, options)
        except StartError as error:
            sys.exit(f"bench.gateway: {error}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=[_PULVINAR, *(peer.key for peer in PEERS)], help="these gateways (default: all)"
    )
    parser.add_argument("--peers-folder", type=Path, default=DEFAULT_FOLDER, help="where scripts/peers installed them")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; every gateway runs every load once a round")
    parser.add_argument(
        "--requests", type=int, default=4_000, help="requests of a closed loop; a quarter of it for streams"
    )
    parser.add_argument("--connections", type=int, default=8, help="connections of a closed loop")
    parser.add_argument("--rate", nargs="+", type=float, default=[50.0, 200.0], help="requests/s of open loops")
    parser.add_argument("--stream-rate", type=float, default=10.0, help="streams/s of the open loop")
    parser.add_argument("--pace", type=float, default=10.0, help="ms between the events of a stream in the open loop")
    parser.add_argument("--seconds", type=float, default=10.0, help="duration of an open loop in s")
    parser.add_argument("--limit", type=float, default=20.0, help="maximum duration of a closed loop in s")
    parser.add_argument("--modes", nargs="+", choices=["json", "stream"], default=["json", "stream"])
    parser.add_argument("--starts", type=int, default=5, help="number of timed starts of `route serve`")
    parser.add_argument("--prompts", type=Path, help="a prompts.jsonl[.gz]; repeated if it is too short")
    parser.add_argument("--serve", default="", help="additional arguments of `route serve`, in one string")
    parser.add_argument("--settings", type=Path, help="the gateway.yaml of Pulvinar (default: none)")
    parser.add_argument("--shared-cores", action="store_true", help="do not pin gateways to a separate core")
    parser.add_argument("--json", type=Path, help="write all metrics of all rounds to this file")
    return parser.parse_args()


def _starts(scratch: Path, count: int) -> list[Server]:
    """`route serve` with the built-in catalogue, started `count` times."""
    servers = []
    for number in range(count):
        with running(pulvinar.untouched(scratch, number), scratch / "start.log") as server:
            servers.append(server)
    return servers


def _measure(stack: contextlib.ExitStack, scratch: Path, plan: Plan, options: argparse.Namespace) -> None:
    load, *_ = os.getloadavg()
    starts = _starts(scratch, options.starts)
    gateway_cores, other_cores = _cores(options.shared_cores)
    if gateway_cores:
        os.sched_setaffinity(0, other_cores)
    prompts, models = scratch / "prompts", scratch / "models"
    write_prompts(prompts, plan.prompts, options.prompts)
    models.write_text("\n".join(["bench", *pulvinar.model_names()]))
    port = free_port()
    command = (sys.executable, "-m", "bench.upstream", "--port", str(port), "--models", str(models))
    start = Start(command, _ROOT, port, ("/health",))
    upstream = stack.enter_context(running(start, scratch / "upstream.log"))
    bench = Bench(plan, upstream, prompts)
    trials = [Trial(Contender(_DIRECT, None, "bench"), None)]
    contenders, absent = _contenders(scratch, port, options)
    for contender in contenders:
        try:
            trial = Trial(contender, _started(stack, contender, scratch, gateway_cores))
        except StartError as error:
            absent[contender.name] = f"did not start: {error}"
            continue
        if failure := bench.warm_up(trial):
            absent[contender.name] = f"did not answer: {failure}"
        else:
            trials.append(trial)
    for number, phase in bench.run(trials):
        print(f"round {number} of {plan.rounds}: {phase}", file=sys.stderr, flush=True)
    measured = (tables(trials, plan, absent), targets(trials, plan, starts))
    print("\n\n".join(filter(None, (_machine(gateway_cores, other_cores, load), start_table(starts), *measured))))
    if options.json:
        figures = {trial.contender.name: trial.figures for trial in trials}
        options.json.write_bytes(
            msgspec.json.format(msgspec.json.encode({"plan": plan, "lanes": figures, "absent": absent}))
        )


def _started(stack: contextlib.ExitStack, contender: Contender, scratch: Path, cores: frozenset[int]) -> Server | None:
    if contender.start is None:
        return None
    log = scratch / f"{contender.name.replace(' ', '-')}.log"
    return stack.enter_context(running(contender.start, log, cores))


def _contenders(scratch: Path, upstream: int, options: argparse.Namespace) -> tuple[list[Contender], dict[str, str]]:
    """The gateways to measure, and the reasons why others are absent."""
    selected = options.only or [_PULVINAR, *(peer.key for peer in PEERS)]
    present, absent = [], {}
    if _PULVINAR in selected:
        settings = options.settings.resolve() if options.settings else None
        present += pulvinar.contenders(scratch, upstream, shlex.split(options.serve), settings)
    folder = options.peers_folder.resolve()
    for peer in PEERS:
        if peer.key not in selected:
            continue
        if reason := absence(peer, folder):
            absent[peer.name] = reason
            continue
        (scratch / peer.key).mkdir()
        present.append(peer.contender(folder / peer.key, scratch / peer.key, upstream))
    return present, absent


def _cores(shared: bool) -> tuple[frozenset[int], frozenset[int]]:
    """The core of the gateways, and the cores of upstream and client; both empty if all share their cores."""
    *other_cores, gateway_cores = sorted(os.sched_getaffinity(0))
    if shared or not other_cores or shutil.which("taskset") is None:
        return frozenset(), frozenset()
    return frozenset({gateway_cores}), frozenset(other_cores)


def _machine(gateway_cores: frozenset[int], other_cores: frozenset[int], load: float) -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    pinned = f"gateways are pinned to one core, upstream and client have {len(other_cores)}"
    cores = pinned if gateway_cores else "all cores are shared"
    return f"{model}; {cores}; load average before: {load:.2f}"


if __name__ == "__main__":
    main()
