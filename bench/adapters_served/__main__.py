"""Twenty LoRA adapters on one llama.cpp server behind the gateway: `python -m bench.adapters_served --model MODEL.gguf
[--python PYTHON] [--requests N] [--peft] [--json]`.

Requests to all adapters and to the base in random order, named and routed by `auto/best`, where the cards state five
examples each; half way, the llama.cpp server is killed and started again. Every answer is compared with that of a
server that has nothing in its cache. PYTHON is an interpreter with xllamacpp, and for `--peft` with torch, peft,
transformers and gguf: then answers are compared with those of transformers and peft, too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec

from bench.adapters_served import measure, with_peft

_ADAPTERS = Path(__file__).parents[1] / "composite" / "adapters"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="the base model as GGUF")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has xllamacpp")
    parser.add_argument("--adapters", type=Path, default=_ADAPTERS, help="folder of the adapters, as GGUF and of PEFT")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--retries", type=int, default=0, help="how often a client repeats a failed request")
    parser.add_argument("--threads", type=int, default=1, help="of the llama.cpp server")
    parser.add_argument("--peft", action="store_true", help="compare with transformers and peft")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    setup = measure.Setup(arguments.python, arguments.model, arguments.adapters, arguments.threads)
    found: dict[str, msgspec.Struct] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if arguments.requests:
            served, trap = measure.measure(setup, arguments.requests, scratch, retries=arguments.retries)
            found |= {"served": served, "trap": trap}
        if arguments.peft:
            found["peft"] = with_peft.measure(setup, scratch)
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=1).decode())
        return
    for name, values in found.items():
        print(name)
        for field, value in msgspec.structs.asdict(values).items():
            lines = [f"    {line}" for line in value] if isinstance(value, tuple) else []
            print("\n".join([f"  {field}: {len(value) if isinstance(value, tuple) else value}", *lines]))


if __name__ == "__main__":
    main()
