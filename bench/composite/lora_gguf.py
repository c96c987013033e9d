"""Write a LoRA adapter in PEFT's format as GGUF, for a llama.cpp server: `python lora_gguf.py FOLDER FILE`.

Needs the packages gguf and safetensors. Adapters of the query and key projections are not supported: llama.cpp stores
those rows in another order.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

_NAMES = {
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_TENSOR = re.compile(r".*\.layers\.(\d+)\.(\w+\.\w+)\.lora_([AB])\.weight")


def convert(folder: Path, file: Path, architecture: str = "llama") -> int:
    """Write the adapter in `folder` to `file`, and return the number of tensors. Raises ValueError for one of another
    projection. float16: a tensor of float64 ends the server when it is first used.
    """
    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    writer = gguf.GGUFWriter(str(file), architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(config["lora_alpha"]))
    for name, tensor in tensors.items():
        found = _TENSOR.fullmatch(name)
        if found is None or found[2] not in _NAMES:
            raise ValueError(f"{name}: only {', '.join(_NAMES)} are supported")
        writer.add_tensor(
            f"blk.{found[1]}.{_NAMES[found[2]]}.weight.lora_{found[3].lower()}", tensor.astype(np.float16)
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return len(tensors)


if __name__ == "__main__":
    print(convert(Path(sys.argv[1]), Path(sys.argv[2])), "tensors")
