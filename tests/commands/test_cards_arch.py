from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cards.machine.configs import LLAMA_3_70B
from tests.commands.conftest import Run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA_3_70B), encoding="utf-8")
    return file


def test_the_shape_and_what_it_needs_are_printed(run: Run, config: Path) -> None:
    printed = run("cards", "arch", str(config), "--on", "a100-80", "--context", "4k").out
    assert printed.startswith("arch:\n  layers: 80\n")
    assert "# a100-80, 4,000 tokens of context: " in printed
    assert "needs 132.6 GiB of 80.0 GiB, so it does not fit" in printed


def test_the_shape_and_the_estimate_are_printed_as_json(run: Run, config: Path) -> None:
    printed = json.loads(run("cards", "arch", str(config), "--on", "mi300x", "--json").out)
    assert printed["arch"]["kv_heads"] == 8
    assert printed["estimate"]["ttft_ms"] > printed["estimate"]["tpot_ms"]


@pytest.mark.parametrize(
    ("options", "problem"), [(("--on", "h10"), 'did you mean "h100"'), (("--context", "long"), "number of tokens")]
)
def test_an_unknown_accelerator_or_context_is_an_error(
    run: Run, config: Path, options: tuple[str, str], problem: str
) -> None:
    ended = run("cards", "arch", str(config), *options)
    assert ended.code != 0
    assert problem in ended.err


def test_show_prints_what_an_adapter_inherits_with_values(run: Run, tmp_path: Path) -> None:
    base = "{id: llama, provider: hosted_vllm, model: m, context: 8k, capabilities: [tools]}"
    (tmp_path / "llama.yaml").write_text(base, encoding="utf-8")
    adapter = "{id: sql, kind: adapter, base: llama, provider: hosted_vllm, model: sql}"
    (tmp_path / "sql.yaml").write_text(adapter, encoding="utf-8")
    printed = run("cards", "show", "sql", "--cards", str(tmp_path)).out
    assert "# inherits from llama: context, capabilities\n#   context: 8k\n#   capabilities:\n#   - tools\n" in printed
