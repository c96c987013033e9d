"""The manual page is that of today's commands and renders; completion works in bash, zsh and fish."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "man" / "route.1"
PROGRAM = (
    f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom router.commands import main\nmain()\n"
)


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(program), reason=f"needs {program}: scripts/system installs it")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a user who has installed `route`."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "bin").mkdir()
    program = folder / "bin" / "route"
    program.write_text(PROGRAM, encoding="utf-8")
    program.chmod(0o755)
    return {"HOME": str(folder), "PATH": f"{program.parent}:{os.environ['PATH']}", "TERM": "dumb"}


def shell(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_manual_page_is_that_of_the_commands(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / "man", tmp_path / "route.1"], check=True, timeout=120)
    assert (tmp_path / "route.1").read_text("utf-8") == PAGE.read_text("utf-8"), "run scripts/man"


@needs("man")
def test_the_manual_page_renders_without_a_warning() -> None:
    environment = {**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
    command = ["man", "--warnings", "--local-file", "--pager=cat", str(PAGE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    # Links in a paragraph are not broken, so a line may be too long for the width.
    assert [line for line in done.stderr.splitlines() if "can't break line" not in line] == []
    assert "route serve [OPTIONS]" in done.stdout
    assert "--drain" in done.stdout
    assert "\\" not in done.stdout.replace("\\n", "")


@needs("bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [("rec", "records"), ("keys ad", "add"), ("serve --worke", "--workers"), ("a\\ prompt x", "")],
)
def test_bash_completes_commands_and_options(words: str, expected: str, environment: dict[str, str]) -> None:
    script = 'source <(route --show-completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
    script += '_route_completion route; echo "${COMPREPLY[@]}"'
    typed = words.replace("\\ ", "\0").split()
    out = shell(environment, "bash", "-c", script, "bash", "route", *(word.replace("\0", " ") for word in typed))
    assert out.strip() == expected


@needs("bash")
def test_installed_completion_is_read_by_a_new_bash(environment: dict[str, str]) -> None:
    shell(environment, "route", "--install-completion", "bash")
    out = shell(environment, "bash", "--rcfile", f"{environment['HOME']}/.bashrc", "-i", "-c", "complete -p route")
    assert "_route_completion" in out


@needs("fish")
def test_fish_completes_with_help_texts(environment: dict[str, str]) -> None:
    out = shell(environment, "fish", "-c", 'route --show-completion fish | source; complete -C "route rec"')
    assert out.startswith("records")


@needs("zsh")
def test_zsh_completes_at_a_tab(environment: dict[str, str]) -> None:
    process, terminal = pty.fork()
    if not process:
        os.chdir(environment["HOME"])
        os.execvpe("zsh", ["zsh", "-f", "-i"], {**environment, "PS1": "> "})
    try:
        script = (
            "autoload -Uz compinit && compinit -u -D && route --show-completion zsh > c.zsh; . ./c.zsh; echo rea''dy"
        )
        os.write(terminal, f"{script}\n".encode())
        assert "ready" in _read_until(terminal, "ready")
        os.write(terminal, b"route rec\t")
        assert "route records" in _read_until(terminal, "route records")
    finally:
        os.kill(process, 9)
        os.waitpid(process, 0)
        os.close(terminal)


def _read_until(terminal: int, words: str) -> str:
    """What the terminal shows until it shows `words`, for a minute at most."""
    text, end = "", time.monotonic() + 60
    while words not in text and time.monotonic() < end:
        if select.select([terminal], [], [], 1)[0]:
            text += os.read(terminal, 65536).decode(errors="replace")
    return text
