"""Install the other gateways: `python -m bench.peers [FOLDER] [--only NAME …] [--again]`."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from bench.gateway.contender import Peer
from bench.peers import DEFAULT_FOLDER, PEERS, absence, mark


def main() -> None:
    """Install the missing gateways. Exits with status 1 if one could not be installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--only", nargs="+", choices=[peer.key for peer in PEERS], default=[])
    parser.add_argument("--again", action="store_true", help="reinstall installed gateways")
    options = parser.parse_args()
    folder = options.folder.resolve()
    failed = False
    for peer in PEERS:
        if not options.only or peer.key in options.only:
            if options.again or absence(peer, folder):
                _install(peer, folder)
            reason = absence(peer, folder)
            failed |= bool(reason)
            print(f"{peer.name}: {reason or f'installed in {folder / peer.key}'}", flush=True)
    sys.exit(int(failed))


def _install(peer: Peer, folder: Path) -> None:
    home = folder / peer.key
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    try:
        peer.install(home)
    except subprocess.CalledProcessError as error:
        print(error.stderr, file=sys.stderr)
        lines = str(error.stderr).strip().splitlines()
        errors = [line for line in lines if "error" in line.lower()] or lines
        mark(peer, folder, errors[-1][:200] if errors else str(error))
    except OSError as error:
        mark(peer, folder, str(error))
    else:
        mark(peer, folder)


if __name__ == "__main__":
    main()
