"""The LiteLLM proxy with one worker and default features."""

from __future__ import annotations

import secrets
from pathlib import Path

import yaml

from bench.gateway.contender import Contender
from bench.gateway.processes import Start, free_port
from bench.peers.environment import install_python

# 1.82.7, 1.82.8 and 1.107.0 were compromised releases.
_VERSION = "1.106.2"


class LiteLLM:
    name = f"LiteLLM proxy {_VERSION}"
    key = "litellm"

    def install(self, folder: Path) -> None:
        """Install it from PyPI."""
        install_python(folder, f"litellm[proxy]=={_VERSION}")

    def contender(self, folder: Path, scratch: Path, upstream: int) -> Contender:
        """The proxy with a master key, which it requires for safe operation."""
        key, port = f"sk-{secrets.token_hex(24)}", free_port()
        called = {"model": "openai/bench", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}
        models = [{"model_name": "bench", "litellm_params": called}]
        file = scratch / "litellm.yaml"
        file.write_text(yaml.safe_dump({"model_list": models}))
        command = (str(folder / "bin" / "litellm"), "--config", str(file), "--host", "127.0.0.1", "--port", str(port))
        environment = {
            "LITELLM_MASTER_KEY": key,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_TELEMETRY": "False",
        }
        start = Start((*command, "--num_workers", "1"), scratch, port, ("/health/liveliness",), environment)
        return Contender(self.name, start, "bench", headers={"authorization": f"Bearer {key}"})
