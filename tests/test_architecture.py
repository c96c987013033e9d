"""docs/architecture.md matches the code: folders, modules, import contracts, sizes."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "router"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
MODULES = sorted(file for file in PACKAGE.rglob("*.py") if "shipped" not in file.parts)
FOLDERS = sorted({file.parent for file in MODULES})
MAX_LINES = 400
MAX_MODULES = 14


def contracts() -> list[str]:
    """The names of the import contracts."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]]


def named_paths() -> set[str]:
    """The files and folders that the page names, relative to the repository or to `router/`."""
    in_text = re.findall(r"`((?:[a-z_]+/)*[a-z_.]+\.(?:py|md|json)|(?:[a-z_]+/)+[a-z_]*)`", PAGE)
    in_diagrams = re.findall(r"(?<![\w/])((?:[a-z_]+/)+[a-z_]+\.py|pipeline\.py|loading\.py)", PAGE)
    return {*in_text, *in_diagrams}


def test_every_path_on_the_page_exists() -> None:
    paths = named_paths()
    assert len(paths) > 60
    missing = {
        path
        for path in paths
        if not any(
            (base / path).exists()
            for base in (ROOT, PACKAGE, PACKAGE / "learn", PACKAGE / "gateway", ROOT / "tests" / "decide")
        )
        and path not in ("predictor.json", "head.npz", "prompts.jsonl")
    }
    assert missing == set()


def test_every_name_in_a_recipe_stands_in_the_file_that_it_names() -> None:
    named = re.findall(r"`(\w+)(?:\.\w+)?`(?: or `\w+`)? (?:in|of) `(router/[\w/]+\.py)`", PAGE)
    assert len(named) >= 8
    assert [
        (name, file) for name, file in named if not re.search(rf"\b{name}\b", (ROOT / file).read_text("utf-8"))
    ] == []


def test_every_import_contract_is_on_the_page() -> None:
    assert [name for name in contracts() if name not in PAGE] == []


def test_every_contract_on_the_page_exists() -> None:
    named = re.findall(r'import contract "([^"]+)"', PAGE)
    assert sorted(named) == sorted(contracts())


def test_every_folder_of_the_package_is_on_the_page() -> None:
    top = {folder.relative_to(PACKAGE).parts[0] for folder in FOLDERS if folder != PACKAGE}
    assert {folder for folder in top if f"`{folder}/`" not in PAGE} == set()


def test_no_module_is_longer_than_400_lines() -> None:
    assert len(MODULES) > 500
    kernel = [*(ROOT / "kernel").rglob("*.[ch]")]
    assert len(kernel) > 20
    files = [*MODULES, *kernel]
    lines = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {file: number for file, number in lines.items() if number > MAX_LINES} == {}


def test_no_folder_needs_a_search() -> None:
    modules = Counter(str(file.parent.relative_to(ROOT)) for file in MODULES)
    assert {folder: number for folder, number in modules.items() if number > MAX_MODULES} == {}


def test_every_folder_states_what_it_is_for() -> None:
    docstrings = {
        str(folder.relative_to(ROOT)): ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8")))
        for folder in FOLDERS
    }
    assert {folder: text for folder, text in docstrings.items() if len(text or "") <= 20} == {}


def environment_reads(text: str) -> list[int]:
    """The lines that read variables of the environment."""
    # Most modules have none of the names, and to parse all of them takes seconds.
    if not re.search(r"environ|getenv", text):
        return []
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb"))
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {"environ", "getenv"} & {a.name for a in node.names}
        )
    ]


def test_only_the_settings_read_the_environment() -> None:
    found = {str(file.relative_to(ROOT)): environment_reads(file.read_text(encoding="utf-8")) for file in MODULES}
    assert [file for file, lines in found.items() if lines] == ["router/settings.py"]


def test_tests_mirror_the_folders() -> None:
    tested = {"analysis", "cards", "commands", "compose", "decide", "dispatch", "formats", "gateway", "learn"}
    tested |= {"perceive", "store", "wire"}
    assert {name for name in tested if not (ROOT / "tests" / name).is_dir()} == set()
