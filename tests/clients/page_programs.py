"""Run what the client pages of the documentation state as code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.clients.docs_pages import ADDRESS, PAGES, page_blocks
from tests.clients.packages import PYTHON

ROOT = Path(__file__).parents[2]
# Runs the programs given as JSON, and prints the output of each as JSON. What the libraries make at their import stays,
# so collecting garbage meanwhile finds nothing.
_RUN_ALL = """
import contextlib, gc, io, json, sys, traceback

gc.disable()
outputs = {}
for name, code in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            exec(compile(code, name, "exec"), {"__name__": "__main__"})
        except Exception:
            print(traceback.format_exc())
    outputs[name] = output.getvalue()
print(json.dumps(outputs))
"""


def written_in(language: str) -> list[Path]:
    """The pages with code in this language, except those that have an environment of their own."""
    return [page for page in PAGES if page_blocks(page, language) and not (PYTHON / f"{page.stem}.txt").exists()]


def run(gateway: str, program: list[str], code: str, folder: Path) -> str:
    """The output of the program, run without the keys and addresses of this process's environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "ANTHROPIC_"))}
    environment |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "no_proxy": "*", "PYTHONPATH": str(ROOT)}
    code = code.replace(ADDRESS, gateway)
    completed = subprocess.run(
        [*program, code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def outputs_of(programs: Mapping[str, str], gateway: str, folder: Path) -> dict[str, str]:
    """The output of each of these Python programs, by its name, or its traceback. One process runs them all."""
    output = run(gateway, [sys.executable, "-c", _RUN_ALL], json.dumps(programs), folder)
    parsed_outputs: dict[str, str] = json.loads(output.splitlines()[-1])
    return parsed_outputs
