"""`llama-server` as the page calls it, on llama.cpp's own server in the package xllamacpp."""

from __future__ import annotations

import argparse
import threading

import xllamacpp


def main() -> None:
    """Serve until the process ends."""
    parser = argparse.ArgumentParser()
    for name in ("--model", "--alias", "--host"):
        parser.add_argument(name, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--lora-init-without-apply", action="store_true", required=True)
    parser.add_argument("--lora", action="append", default=[])
    options = parser.parse_args()
    parameters = xllamacpp.CommonParams()
    parameters.model.path, parameters.model_alias = options.model, {options.alias}
    parameters.port = options.port
    # What the tests' machine can bear; everything else is the server's default.
    parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads = 1024, 1, 1
    parameters.lora_init_without_apply = options.lora_init_without_apply
    for path in options.lora:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = path, 0.0
        parameters.lora_adapters = [*parameters.lora_adapters, adapter]
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
