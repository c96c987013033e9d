"""A llama.cpp server with LoRA adapters: `python llama_server.py MODEL.gguf NAME PORT SLOTS THREADS [ADAPTER.gguf …]`.

Needs the package xllamacpp. NAME is what it lists as its model. SLOTS requests are answered at a time. The adapters are
loaded with scale 0; the server runs until standard input ends.
"""

from __future__ import annotations

import sys

import xllamacpp

_CONTEXT_TOKENS = 1024


def main() -> None:
    """Serve, and print the address once it listens."""
    model, name, port, slots, threads, *adapters = sys.argv[1:]
    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.model_alias, parameters.port = model, {name}, int(port)
    parameters.n_ctx, parameters.n_parallel = _CONTEXT_TOKENS * int(slots), int(slots)
    # More threads than free cores are slower by an order of magnitude.
    parameters.cpuparams.n_threads = int(threads)
    for path in adapters:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = path, 0.0
        parameters.lora_adapters = [*parameters.lora_adapters, adapter]
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
