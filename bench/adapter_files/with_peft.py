"""What `bench.adapter_files` needs of peft: `python with_peft.py base|adapters|answers …`.

Needs torch, transformers, peft and gguf only, in whatever environment has them.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import gguf
import peft
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# By name: the configuration, and the share of the base's weight that the change amounts to.
ADAPTERS: dict[str, tuple[Any, float]] = {
    "query-key": (peft.LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "k_proj"], task_type="CAUSAL_LM"), 0.3),
    "all-seven": (peft.LoraConfig(r=4, lora_alpha=16, target_modules=SEVEN, task_type="CAUSAL_LM"), 0.1),
    "rslora-patterns": (
        peft.LoraConfig(
            r=8, lora_alpha=8, use_rslora=True, rank_pattern={"k_proj": 4}, alpha_pattern={"q_proj": 16},
            target_modules=SEVEN, task_type="CAUSAL_LM",
        ),
        0.1,
    ),
    "lokr": (peft.LoKrConfig(r=4, alpha=8, target_modules=["q_proj", "k_proj"], task_type="CAUSAL_LM"), 0.3),
}  # fmt: skip
BASE = "base-f16.gguf"
TOKENS = 16
TOP = 10


def base(model: Path, folder: Path) -> None:
    """Write the model of a GGUF file with its values as F16 to `folder`/base-f16.gguf."""
    folder.mkdir(parents=True, exist_ok=True)
    reader = gguf.GGUFReader(model)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(folder / BASE, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        is_list = field.types[0] == gguf.GGUFValueType.ARRAY
        writer.add_key_value(name, field.contents(), field.types[0], field.types[-1] if is_list else None)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        # llama.cpp computes with vectors in F32.
        writer.add_tensor(tensor.name, values.astype("float16" if values.ndim > 1 else "float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def adapters(folder: Path) -> None:
    """Write an adapter of each kind with random weights to `folder`/NAME."""
    model = _base(folder)
    for name, (config, share) in ADAPTERS.items():
        model = peft.get_peft_model(model, config)
        generator = torch.Generator().manual_seed(sum(name.encode()))
        with torch.no_grad():
            for values in model.parameters():
                if values.requires_grad:
                    values.copy_(torch.randn(values.shape, generator=generator))
            for module in model.modules():
                if hasattr(module, "get_delta_weight"):
                    times = share * module.base_layer.weight.norm() / module.get_delta_weight("default").norm()
                    parts = (getattr(module, name, {}) for name in ("lora_B", "lokr_w2_b", "lokr_w2"))
                    part = next(part["default"] for part in parts if "default" in part)
                    getattr(part, "weight", part).mul_(times)
        model.save_pretrained(folder / name, save_embedding_layers=False)
        model = model.unload()


def answers(folder: Path, prompts: list[str], names: list[str]) -> dict[str, Any]:
    """The tokens of each prompt, and by adapter (`base` without one, `A+B` for the sum of two) and prompt: the tokens
    of the greedy answer, and the logarithms of the probabilities of the first one's `TOP` likeliest.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=BASE)
    turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
    texts = [tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True) for turn in turns]
    asked = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    found: dict[str, Any] = {"prompts": asked, "end": tokenizer.eos_token_id, "answers": {}}
    model = _base(folder).eval()
    found["answers"]["base"] = [_answer(model, tokens) for tokens in asked]
    for name in names:
        first, *others = name.split("+")
        adapted = peft.PeftModel.from_pretrained(model, str(folder / first), adapter_name=first).eval()
        for other in others:
            adapted.load_adapter(str(folder / other), adapter_name=other)
        adapted.base_model.set_adapter([first, *others])
        found["answers"][name] = [_answer(adapted, tokens) for tokens in asked]
        model = adapted.unload()
    return found


def _answer(model: Any, tokens: list[int]) -> dict[str, Any]:
    written = model.generate(
        input_ids=torch.tensor([tokens]), attention_mask=torch.ones(1, len(tokens), dtype=torch.long),
        max_new_tokens=TOKENS, do_sample=False, output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    top = torch.log_softmax(written.logits[0][0].double(), -1).topk(TOP)
    likeliest = dict(zip(map(str, top.indices.tolist()), top.values.tolist(), strict=True))
    return {"tokens": written.sequences[0, len(tokens) :].tolist(), "likeliest": likeliest}


def _base(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, gguf_file=BASE, dtype=torch.float32)


def main() -> None:
    warnings.filterwarnings("ignore")
    action, folder = sys.argv[1], Path(sys.argv[2])
    if action == "base":
        base(Path(sys.argv[3]), folder)
    elif action == "adapters":
        adapters(folder)
    else:
        prompts = json.loads(sys.stdin.read())
        print(json.dumps(answers(folder, prompts, sys.argv[3:])))


if __name__ == "__main__":
    main()
