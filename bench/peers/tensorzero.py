"""The TensorZero gateway from its Python package, without its database, as in its published figures."""

from __future__ import annotations

from pathlib import Path

from bench.gateway.contender import Contender
from bench.gateway.processes import Start
from bench.peers.environment import install_python

_VERSION = "2026.6.0"
_SETTINGS = """\
[gateway]
observability.enabled = false

[models.bench]
routing = ["upstream"]

[models.bench.providers.upstream]
type = "openai"
model_name = "bench"
api_base = "http://127.0.0.1:{upstream}/v1/"
api_key_location = "none"
"""
# Runs in the peer's environment. The gateway chooses a loopback port.
_STARTER = """\
import signal, sys, urllib.parse
from openai import OpenAI
from tensorzero import patch_openai_client
client = patch_openai_client(OpenAI(api_key="none"), config_file=sys.argv[1], async_setup=False)
open(sys.argv[2], "w").write(str(urllib.parse.urlsplit(str(client.base_url)).port))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    signal.pause()
"""


class TensorZero:
    name = f"TensorZero {_VERSION}"
    key = "tensorzero"

    def install(self, folder: Path) -> None:
        """Install it from PyPI."""
        install_python(folder, f"tensorzero=={_VERSION}", "openai")

    def contender(self, folder: Path, scratch: Path, upstream: int) -> Contender:
        """The gateway; its Rust threads run in a sleeping Python process."""
        file, port = scratch / "tensorzero.toml", scratch / "tensorzero.port"
        file.write_text(_SETTINGS.format(upstream=upstream))
        command = (str(folder / "bin" / "python"), "-W", "ignore", "-c", _STARTER, str(file), str(port))
        # Started from its package it has no health endpoint.
        start = Start(command, scratch, port, ())
        return Contender(self.name, start, "tensorzero::model_name::bench", "/openai/v1/chat/completions")
