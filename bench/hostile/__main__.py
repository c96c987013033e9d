"""Hostile clients against real gateways: `python -m bench.hostile [--only NAME …] [--peers FOLDER] [--write PAGE]`.

Every attack gets a gateway of its own. Honest clients of another key send the same requests before it and beside it.
Exits with status 1 if a gate of this gateway does not hold. Linux only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.gateway.contender import Peer
from bench.gateway.processes import Start, StartError, unchanged
from bench.hostile import gateways
from bench.hostile.attack import Attack
from bench.hostile.attacks import ATTACKS
from bench.hostile.report import details, text, verdicts
from bench.hostile.trial import Result, Sides, Times, both_sides, try_attack
from bench.pages import write_between_markers
from bench.peers import DEFAULT_FOLDER, PEERS, absence

_QUICK = Times(1.0, 2.0)
_SECTION = "bench.hostile"


def attack_gateway(
    attack: Attack,
    times: Times,
    sides: Sides,
    peer: Peer | None = None,
    folder: Path = DEFAULT_FOLDER,
    started: Callable[[Start], Start] = unchanged,
) -> Result:
    """One attack on this gateway, or on a peer that is installed in `folder`. Raises StartError.

    `started` may say how else this gateway is to be started.
    """
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if peer is None:
            contender = gateways.pulvinar(scratch, sides.upstream, attack)
            assert contender.start is not None
            contender = msgspec.structs.replace(contender, start=started(contender.start))
            return try_attack(contender, attack, gateways.honest_asks(), sides, scratch, times)
        contender = peer.contender(folder / peer.key, scratch, sides.upstream)
        assert contender.start is not None
        start = gateways.wrapped(contender.start, attack.shell)
        contender = msgspec.structs.replace(contender, start=start)
        return try_attack(contender, attack, gateways.peer_asks(contender), sides, scratch, times)


def main() -> None:
    """Print a line an attack, then the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[attack.name for attack in ATTACKS], metavar="NAME", default=[])
    parser.add_argument("--quick", action="store_true", help="attacks of two seconds")
    parser.add_argument("--seconds", type=float, default=Times().attack_s, help="the length of an attack")
    parser.add_argument("--peers", nargs="*", choices=[peer.key for peer in PEERS], help="measure these gateways, too")
    parser.add_argument("--peers-folder", type=Path, default=DEFAULT_FOLDER, help="where scripts/peers installed them")
    parser.add_argument("--without-pulvinar", action="store_true", help="measure the others only")
    parser.add_argument("--state", default="", metavar="URL", help="keep the counters in this Redis or Valkey server")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--write", type=Path, help="write the tables into this page")
    parser.add_argument("--list", action="store_true", help="list the attacks")
    options = parser.parse_args()
    attacks = [attack for attack in ATTACKS if not options.only or attack.name in options.only]
    if options.list:
        print("\n".join(attack.name for attack in attacks))
        return
    attacks = [
        msgspec.structs.replace(attack, state_url=f"{options.state}?prefix={attack.name}" if options.state else "")
        for attack in attacks
    ]
    times = _QUICK if options.quick else Times(attack_s=options.seconds)
    results: list[Result] = []
    failed = False
    contenders: list[Peer | None] = [] if options.without_pulvinar else [None]
    contenders += [peer for peer in PEERS if options.peers is not None and peer.key in (options.peers or _keys())]
    with both_sides() as sides:
        for peer in contenders:
            if peer is not None and (reason := absence(peer, options.peers_folder)):
                print(f"{peer.name}: {reason}", flush=True)
                continue
            for attack in attacks:
                if peer is not None and attack.native:
                    continue
                try:
                    result = attack_gateway(attack, times, sides, peer, options.peers_folder)
                except StartError as error:
                    print(f"{attack.name:26s} {peer.name if peer else gateways.NAME}: {error}", flush=True)
                    failed |= peer is None
                    continue
                results.append(result)
                cells = verdicts(result)
                red = [f"{column} {cell.text}" for column, cell in cells.items() if cell.fails]
                failed |= peer is None and bool(red)
                print(f"{attack.name:26s} {result.gateway}: {'; '.join(red) or 'held'}", flush=True)
                for line in details([result]):
                    print(line, flush=True)
    if not results:
        return
    print(f"\n{text(results)}")
    if options.json:
        options.json.write_bytes(msgspec.json.encode(results))
    if options.write:
        write_between_markers(options.write, _SECTION, text(results))
    sys.exit(int(failed))


def _keys() -> list[str]:
    return [peer.key for peer in PEERS]


if __name__ == "__main__":
    main()
