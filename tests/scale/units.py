"""Units of work for the tests, which the workers of a cluster import. Each leaves a file for every run of it."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import numpy as np

from router.errors import CallerError
from router.learn.engine import Arrays, open_engine


class Squares:
    """The square of a number, noted in a folder. The first run of `deadly` kills its process."""

    def __init__(self, folder: str, deadly: int = -1) -> None:
        self.folder, self.deadly = folder, deadly

    def __call__(self, number: int) -> Arrays:
        is_first = not runs_of(Path(self.folder), number)
        (Path(self.folder) / f"{number}-{uuid.uuid4().hex}").touch()
        if number == self.deadly and is_first:
            os.kill(os.getpid(), signal.SIGKILL)
        return (np.array([number, os.getpid()]), np.array(number**2))


def runs_of(folder: Path, number: int) -> int:
    """How often the unit ran for this number."""
    return len(list(folder.glob(f"{number}-*")))


def refused(number: int) -> Arrays:
    """A unit that raises."""
    raise CallerError(f"{number} is not a prompt")


def small_model() -> object:
    """A transformer of random weights, always the same, with more tokens than a batch has."""
    import torch

    class Tokenizer:
        cls_token_id, sep_token_id = 0, 1

        def __len__(self) -> int:
            return 1_100

    class Output:
        def __init__(self, last_hidden_state: torch.Tensor) -> None:
            self.last_hidden_state = last_hidden_state

    class Transformer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(1_100, 8)
            self.layer = torch.nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=8, batch_first=True)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Output:
            return Output(self.layer(self.words(input_ids), src_key_padding_mask=attention_mask == 0))

    class Module:
        auto_model: object

    class Model:
        tokenizer = Tokenizer()

        def __getitem__(self, _: int) -> Module:
            return module

    torch.manual_seed(0)
    module = Module()
    module.auto_model = Transformer()
    return Model()


def main(address: str, folder: str) -> None:
    """A driver that is killed after two of six results."""
    with open_engine(f"ray={address}") as engine:
        results = engine.map(Squares(folder), range(6), "squares")
        next(results)
        next(results)
        os.kill(os.getpid(), signal.SIGKILL)
