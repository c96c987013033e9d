"""Other gateways, every one installed in a separate environment: `scripts/peers`."""

from __future__ import annotations

from pathlib import Path

from bench.gateway.contender import Peer
from bench.peers.litellm_proxy import LiteLLM
from bench.peers.portkey import Portkey
from bench.peers.tensorzero import TensorZero
from bench.peers.vllm_router import VllmRouter

PEERS: tuple[Peer, ...] = (LiteLLM(), Portkey(), TensorZero(), VllmRouter())
DEFAULT_FOLDER = Path(__file__).parents[2] / ".peers"
_DONE, _FAILED = "installed", "failed"


def absence(peer: Peer, folder: Path) -> str:
    """The reason why `peer` cannot run from `folder`; empty if it can."""
    home = folder / peer.key
    if (home / _DONE).exists():
        return ""
    reason = home / _FAILED
    return f"not installed: {reason.read_text().strip()}" if reason.exists() else "not installed: see scripts/peers"


def mark(peer: Peer, folder: Path, failure: str = "") -> None:
    """Record that `peer` was installed in `folder`, or the reason of the failure."""
    (folder / peer.key / (_FAILED if failure else _DONE)).write_text(f"{failure or peer.name}\n")
