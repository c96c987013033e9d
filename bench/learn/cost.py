"""What learning costs, in CPU of a request with `learning: observe` beside `off`: `python -m bench.learn.cost`.

Two gateways that differ in this key alone answer the same prompts in turns, a block each; a share of the answers is
judged, in both. The CPU of all threads of a gateway is counted, so what is learned after an answer counts. Shown are
the medians of the blocks, and the median of the ratios of neighbouring blocks with a 95 % bootstrap interval.

`--votes 1000000` learns so many votes of 300 keys in the memory of one card, and prints its size and the time of a vote
along the way.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from bench.gateway import pulvinar
from bench.gateway.processes import Server, Start, free_port, running, tree
from bench.gateway.prompts import write_prompts
from router import settings
from router.perceive.memory.card import CardMemory, Vote
from router.perceive.memory.sketch import CELLS, TABLES
from router.perceive.memory.stored import to_bytes

_ROOT = Path(__file__).parents[2]
_LEARNING = ("off", "observe")
_WARM_BLOCKS = 2


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60, help="blocks of each gateway")
    parser.add_argument("--block", type=int, default=50, help="requests of a block")
    parser.add_argument("--judged", type=float, default=0.1, help="share of the answers that is judged")
    parser.add_argument("--votes", type=int, default=0, help="learn so many votes instead")
    arguments = parser.parse_args()
    if arguments.votes:
        learn(arguments.votes)
    else:
        compare(arguments.rounds, arguments.block, arguments.judged)


def compare(rounds: int, block: int, judged: float) -> None:
    """Print the CPU of requests with and without learning."""
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        models = scratch / "models"
        models.write_text("\n".join(pulvinar.model_names()))
        upstream = free_port()
        command = (sys.executable, "-m", "bench.upstream", "--port", str(upstream), "--models", str(models))
        stack.enter_context(running(Start(command, _ROOT, upstream, ("/health",)), scratch / "upstream.log"))
        servers = {name: stack.enter_context(_gateway(scratch / name, upstream, name)) for name in _LEARNING}
        file = scratch / "prompts"
        write_prompts(file, (rounds + _WARM_BLOCKS) * block)
        prompts = [json.loads(line) for line in file.read_text().splitlines()]
        clients = {name: http.client.HTTPConnection("127.0.0.1", server.port) for name, server in servers.items()}
        spent: dict[str, list[float]] = {name: [] for name in _LEARNING}
        for number, part in enumerate(_blocks(prompts, block)):
            for name in _LEARNING if number % 2 else _LEARNING[::-1]:
                before_s = _cpu_s(servers[name])
                _ask(clients[name], part, round(1 / judged) if judged else 0)
                if number >= _WARM_BLOCKS:
                    spent[name].append((_cpu_s(servers[name]) - before_s) / block * 1e3)
    off, observe = (np.array(spent[name]) for name in _LEARNING)
    ratios = observe / off
    drawn = np.random.default_rng(0).integers(0, len(ratios), (2_000, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), (0.025, 0.975))
    print(f"{rounds} blocks of {block} requests each, {judged:.0%} judged, in turns")
    print(f"off      {np.median(off):.3f} ms of CPU a request")
    print(
        f"observe  {np.median(observe):.3f} ms, {np.median(ratios) - 1:+.1%} (95 % {low - 1:+.1%} to {high - 1:+.1%})"
    )


@contextlib.contextmanager
def _gateway(folder: Path, upstream: int, learning: str) -> Iterator[Server]:
    policies = folder / "policies"
    policies.mkdir(parents=True)
    shipped = (settings.shipped_policies_folder() / "default.yaml").read_text()
    (policies / "default.yaml").write_text(f"{shipped}learning: {learning}\n")
    start = pulvinar.contenders(folder, upstream, ["--policies", str(policies)], None)[0].start
    if start is None:
        raise RuntimeError("this gateway is started by the benchmark")
    start = msgspec.structs.replace(start, environment=start.environment | {"PYTHONPATH": str(_ROOT)})
    with running(start, folder / "log") as server:
        yield server


def _blocks(prompts: list[str], size: int) -> Iterator[list[str]]:
    return (prompts[start : start + size] for start in range(0, len(prompts), size))


def _ask(client: http.client.HTTPConnection, prompts: list[str], judged_every: int) -> None:
    for number, prompt in enumerate(prompts):
        body = {"model": "auto", "messages": [{"role": "user", "content": prompt}]}
        response = _post(client, "/v1/chat/completions", body)
        id_ = response.headers["x-request-id"]
        response.read()
        if judged_every and number % judged_every == judged_every - 1:
            # The record of the answer may not be stored yet.
            for _ in range(100):
                answer = _post(client, "/v1/feedback", {"id": id_, "value": number % 2})
                answer.read()
                if answer.status == http.HTTPStatus.OK:
                    break
                time.sleep(0.02)


def _post(client: http.client.HTTPConnection, path: str, body: object) -> http.client.HTTPResponse:
    client.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    return client.getresponse()


def _cpu_s(server: Server) -> float:
    """CPU time of all threads in nanoseconds' resolution, which that of processes does not have."""
    files = (file for pid in tree(server.pid) for file in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def learn(votes: int) -> None:
    """Print the size of a memory, and the time of a vote, along so many votes."""
    rng, memory = np.random.default_rng(0), CardMemory.empty("basis")
    began_s, done = time.process_time(), 0
    for number in range(votes):
        vote = Vote(
            f"key-{rng.integers(300)}",
            float(rng.random() < 0.7) - 0.7,
            0.5,
            rng.integers(0, CELLS, TABLES),
            rng.normal(size=8),
        )
        memory = memory.learn(vote, 1_790_000_000.0 + 10.0 * number)
        if number + 1 in (1_000, 10_000, 100_000, votes):
            now_s = time.process_time()
            peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
            each_us = (now_s - began_s) / (number + 1 - done) * 1e6
            size = len(to_bytes(memory))
            print(
                f"{number + 1:>9,} votes: {size:,} bytes, {each_us:.0f} µs of CPU each, peak {peak_mb:.1f} MB",
                flush=True,
            )
            began_s, done = now_s, number + 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
