"""Answers of transformers and peft: `python peft_answers.py MODEL.gguf ADAPTERS F16.gguf < PROMPTS > ANSWERS`.

PROMPTS is a JSON list of [adapter, prompt], ANSWERS one of texts. The base is dequantised to float16, and written so as
F16.gguf, too, for a llama.cpp server. Needs torch, transformers, peft and gguf.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

_TOKENS = 32


def write_f16(model: Path, out: Path) -> None:
    """Write the model with every quantised tensor as float16."""
    reader = gguf.GGUFReader(model)
    architecture = reader.get_field(gguf.Keys.General.ARCHITECTURE).contents()
    writer = gguf.GGUFWriter(out, architecture)
    for field in reader.fields.values():
        if field.name == gguf.Keys.General.ARCHITECTURE or field.name.startswith("GGUF."):
            continue
        value = gguf.LlamaFileType.MOSTLY_F16 if field.name == gguf.Keys.General.FILE_TYPE else field.contents()
        of_list = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, value, field.types[0], sub_type=of_list)
    for tensor in reader.tensors:
        if tensor.tensor_type == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(tensor.name, tensor.data)
        else:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            writer.add_tensor(tensor.name, values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Answer the prompts."""
    model, adapters, f16 = map(Path, sys.argv[1:])
    asked = json.load(sys.stdin)
    write_f16(model, f16)
    tokenizer: Any = AutoTokenizer.from_pretrained(f16.parent, gguf_file=f16.name)
    base: Any = AutoModelForCausalLM.from_pretrained(f16.parent, gguf_file=f16.name, dtype=torch.float32)
    names = list(dict.fromkeys(name for name, _ in asked))
    peft: Any = PeftModel.from_pretrained(base, adapters / names[0], adapter_name=names[0])
    for name in names[1:]:
        peft.load_adapter(adapters / name, adapter_name=name)
    answers = []
    for name, prompt in asked:
        peft.set_adapter(name)
        turns = [{"role": "user", "content": prompt}]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        with torch.no_grad():
            end = tokenizer.convert_tokens_to_ids("<|im_end|>")
            written = peft.generate(**inputs, max_new_tokens=_TOKENS, do_sample=False, eos_token_id=end)
        new = written[0, inputs["input_ids"].shape[1] :]
        answers.append(tokenizer.decode(new, skip_special_tokens=True))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
