"""A llama.cpp server with LoRA adapters: `python llama_server.py MODEL.gguf PORT [ADAPTER.gguf …]`.

Needs the package xllamacpp. The adapters are loaded with scale 0; the server runs until standard input ends.
"""

from __future__ import annotations

import sys

import xllamacpp


def main() -> None:
    """Serve, and print the address once it listens."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.port = sys.argv[1], int(sys.argv[2])
    parameters.n_ctx, parameters.n_parallel = 4096, 4
    # More threads than free cores are slower by an order of magnitude.
    parameters.cpuparams.n_threads = 1
    for path in sys.argv[3:]:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = path, 0.0
        parameters.lora_adapters = [*parameters.lora_adapters, adapter]
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
