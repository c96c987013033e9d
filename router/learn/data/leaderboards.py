"""Published leaderboards: tables of models by benchmark, from which the ratings of models are learned.

A folder of CSV files with a `model` column, one row per model and reasoning effort, and a column per benchmark. A
file's name begins with one of the keys of `LEADERBOARDS`, which say what its columns are. Models are known by different
names on different leaderboards: `model_key` maps them to one.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from router.cards.benchmarks import share_of_scale
from router.cards.facts import ModelFacts
from router.errors import CallerError, FileError
from router.learn.data.text_file import read_text


class _Table(Struct, frozen=True):
    """The benchmarks of a leaderboard's columns; in a `long` table each row is one score, with the benchmark's name in
    the column `benchmark` and the score in `score`.
    """

    columns: Mapping[str, str]
    long: bool = False


def _livebench(release: str) -> _Table:
    names = ("reasoning", "coding", "agentic_coding", "mathematics", "data_analysis", "language")
    columns = {name.replace("_", " ").title(): f"livebench_{release}_{name}" for name in names}
    return _Table(columns | {"IF": f"livebench_{release}_instructions"})


_ARENA = {
    "full": "text",
    "hard_6": "hard",
    "if": "instructions",
    "multiturn": "multi_turn",
    "long_user": "long_query",
    **{
        name: name
        for name in (
            *("expert", "coding", "math", "creative_writing"),
            *("chinese", "french", "german", "japanese", "korean", "russian", "spanish"),
        )
    },
}
LEADERBOARDS: Mapping[str, _Table] = {
    "arena_text": _Table({column: f"lmarena_{name}" for column, name in _ARENA.items()}),
    "livebench_categories": _livebench("2026_06"),
    "aider_polyglot": _Table({"pass_rate_2": "aider_polyglot"}),
    "openhands_index": _Table(
        {"swt-bench": "openhands_swt_bench", "commit0": "openhands_commit0", "gaia": "openhands_gaia"}, long=True
    ),
    "vectara_hallucination": _Table({"factual_consistency": "factual_consistency"}),
}
"""The columns of each leaderboard, by the beginning of its file's name."""

_OLD_RELEASE = " [2026-01-08 release]"
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_EFFORT = re.compile(
    r"[-@]+(?P<word>x-?high|high|medium|low|minimal|max|(?:no|non)-?(?:think(?:ing)?|reasoning)|none"
    r"|(?:auto-)?thinking(?:-auto)?(?:-\d+k)?|highthinking|reasoning|thinkhigh|thinklow|reasoner|think"
    r"|\d+k-think(?:ing)?(?:-tokens)?|(?<=@)\d+k"
    r"|base|default|diff|chat|instant)(?:-effort)?$"
)
_DATE = re.compile(r"[-_]?(?:20\d\d[-_]?\d\d[-_]?\d\d|\d\d-20\d\d|\d\d-\d\d|(?<![\d.])[01]\d[0-3]\d)(?=$|[-_@])")
_VENDOR = re.compile(
    r"^(?:.*/|ai21-?(?=jamba)|amazon-?(?=nova)|anthropic|arcee(?:-ai)?-?(?=trinity)|c4ai-(?=command)|deepseek(?=deepseek)"
    r"|google|ibm-granite|inception(?=mercury)|inclusionai|meituan-?(?=longcat)|meta-llama|meta-?(?=muse)|microsoft"
    r"|minimax(?=minimax)|mistralai|moonshotai|nousresearch|nvidia-?|openai|openrouter(?=owl)|poolside(?=laguna)"
    r"|prime-intellect(?=intellect)|qwen(?=qwen)|stepfun(?=step)|thinkingmachines|writer(?=palmyra)|x-ai|xiaomi|z-ai)+"
)
_PART_OF_NAME = re.compile(r"^qwen[\d.]*-max$|^mistral-medium$|-codex-max$")
_EFFORT_OF_WORD = {effort: effort for effort in _EFFORTS} | {
    "x-high": "xhigh",
    "thinkhigh": "high",
    "highthinking": "high",
    "thinklow": "low",
    "default": "",
    "diff": "",
    "chat": "",
    "base": "none",
    "instant": "none",
}
_THINKS_UNLESS_CHAT = re.compile(r"gpt-5|grok-4")
_SAME = {
    "kimi-k2-thinking-turbo": "kimi-k2@thinking",
    "llama-4-maverick-17b-128e": "llama-4-maverick",
    "llama-4-scout-17b-16e": "llama-4-scout",
    "mistral-3-large-2512": "mistral-large-2512",
    "mistral-large-3": "mistral-large-2512",
    "mistral-medium-3": "mistral-medium-2505",
    "mistral-medium-3.1": "mistral-medium-2508",
    "mistral-small-2501": "mistral-small-24b-2501",
    "mistral-small-2503": "mistral-small-3.1-24b-2503",
    "mistral-small-3.2": "mistral-small-2506",
    "nemotron-3-nano": "nemotron-3-nano-30b-a3b",
    "nemotron-3-super": "nemotron-3-super-120b-a12b",
    "qwen3-235b": "qwen3-235b-a22b",
    "qwen3-coder-480b": "qwen3-coder-480b-a35b",
}
"""Names of one model that no rule makes the same."""

_VERSIONS = {
    "claude-3-5-sonnet-20240620": "claude-sonnet-3.5-0620",
    "command-r-08-2024": "command-r-0824",
    "command-r-plus-08-2024": "command-r-plus-0824",
    "deepseek-r1-0528": "deepseek-r1-0528",
    "deepseek-v2.5-1210": "deepseek-v2.5-1210",
    "deepseek-v3-0324": "deepseek-v3-0324",
    "deepseek-v4-flash-0731": "deepseek-v4-flash-0731",
    "deepseek-v4-pro-0813": "deepseek-v4-pro-0813",
    "gemini-1.5-flash-001": "gemini-1.5-flash-001",
    "gemini-1.5-flash-preview-0514": "gemini-1.5-flash-001",
    "gemini-1.5-pro-001": "gemini-1.5-pro-001",
    "gemini-1.5-pro-preview-0409": "gemini-1.5-pro-001",
    "gpt-3.5-turbo-0301": "gpt-3.5-turbo-0301",
    "gpt-3.5-turbo-0613": "gpt-3.5-turbo-0613",
    "gpt-3.5-turbo-1106": "gpt-3.5-turbo-1106",
    "gpt-4-0125-preview": "gpt-4-0125",
    "gpt-4-0314": "gpt-4-0314",
    "gpt-4-1106-preview": "gpt-4-1106",
    "gpt-4o-2024-05-13": "gpt-4o-0513",
    "gpt-4o-2024-11-20": "gpt-4o-1120",
    "hunyuan-turbos-20250416": "hunyuan-turbos-0416",
    "kimi-k2-0905": "kimi-k2-0905",
    "kimi-k2-0905-preview": "kimi-k2-0905",
    "o1-preview": "o1-preview",
    "qwq-32b-preview": "qwq-32b-preview",
}
"""Versions that differ too much from the one which is known by the name without a date, by name without a vendor."""


def model_key(name: str) -> tuple[str, str]:
    """The model and its reasoning effort, in one spelling for all leaderboards; the effort is empty where none is
    named.

    `claude-opus-4-5-20251101-thinking-64k-high-effort` is `("claude-opus-4.5", "high")`.
    """
    text = re.sub(r":?free$", "", name.strip().lower()).replace("__", "/")
    text = re.sub(r"[-_ (),]+", "-", text).strip("-")
    text = _VENDOR.sub("", text).lstrip("-")
    if text in _VERSIONS:
        return _VERSIONS[text], ""
    text = _DATE.sub("", text).removesuffix("-latest")
    text = _SAME.get(text, text)
    effort = ""
    while (found := _EFFORT.search(text)) and not _PART_OF_NAME.search(text):
        text, word = text[: found.start()], found["word"]
        if word.startswith("no") or word == "0k" or (word == "chat" and _THINKS_UNLESS_CHAT.match(text)):
            word = "none"
        effort = effort or _EFFORT_OF_WORD.get(word, "thinking")
    text = re.sub(r"-(?:preview|instruct|inst|it|hf|chat|latest|exp|beta|bf16|fp8|v1\.0|001|002)(?=-|$)", "", text)
    text = re.sub(r"(?<=\d)-experimental$|-v1(?:[-:]0)?$", "", text)
    if swapped := re.match(r"claude-(\d)[-.]?(\d)?-(opus|sonnet|haiku)(.*)$", text):
        major, minor, line, rest = swapped.groups()
        text = f"claude-{line}-{major}{f'-{minor}' if minor else ''}{rest}"
    text = re.sub(r"(?<=\d)[-p](?=\d(?:$|-))", ".", text)
    text = re.sub(r"^qwen-(?=\d\.\d)", "qwen", text)
    text = re.sub(r"^ministral-3-(?=\d+b-)", "ministral-", text).strip("-.")
    model, _, named = _SAME.get(text, text).partition("@")
    return model, effort or named


def read_leaderboards(folder: Path) -> dict[tuple[str, str], dict[str, float]]:
    """The scores, as shares of their scales, by model and effort (`model_key`) and benchmark.

    Raises CallerError where the folder has no leaderboard, and FileError with file and line for a value that is not a
    score.
    """
    found: dict[tuple[str, str], dict[str, float]] = {}
    files = sorted(file for file in folder.glob("*.csv") if any(file.name.startswith(name) for name in LEADERBOARDS))
    if not files:
        raise CallerError(f"{folder} has no leaderboard; expected files named {', '.join(LEADERBOARDS)}*.csv")
    for file in files:
        table = next(table for name, table in LEADERBOARDS.items() if file.name.startswith(name))
        for line, name, benchmark, text in _cells(file, table):
            try:
                share = share_of_scale(benchmark, float(text))
            except ValueError as error:
                raise FileError(str(file), line, f"{name}: {benchmark}: {error}") from None
            if share is not None:
                scores = found.setdefault(model_key(name), {})
                scores[benchmark] = max(share, scores.get(benchmark, share))
    return found


def _cells(file: Path, table: _Table) -> Iterator[tuple[int, str, str, str]]:
    """The line, the model, the benchmark and the text of each score."""
    reader = csv.DictReader(io.StringIO(read_text(file)))
    needed = ("model", "benchmark", "score") if table.long else ("model",)
    if missing := next((name for name in needed if name not in (reader.fieldnames or ())), None):
        raise FileError(str(file), 1, f'the column "{missing}" is missing')
    for line, row in enumerate(reader, start=2):
        if table.long:
            if (benchmark := table.columns.get(row["benchmark"])) and row["score"]:
                yield line, row["model"], benchmark, row["score"]
            continue
        old = row["model"].endswith(_OLD_RELEASE)
        for column, benchmark in table.columns.items():
            if text := row.get(column):
                name = benchmark.replace("2026_06", "2026_01") if old else benchmark
                yield line, row["model"].removesuffix(_OLD_RELEASE), name, text


_OPEN_FAMILY = re.compile(r"(?:code)?llama-?[\d]|mistral-7b|mixtral|yi-\d|qwen1\.5|deepseek-llm|gemma-\d|falcon|mpt-")
_INSTRUCTED = re.compile(r"chat|instruct|-it(?=-|$)")


def is_pretrained_only(name: str) -> bool:
    """Whether the name is that of open weights before they were trained to follow instructions; `model_key` and
    leaderboards of conversations mean the weights after that.
    """
    text = name.strip().lower().replace("_", "-")
    return bool(_OPEN_FAMILY.search(text)) and not _INSTRUCTED.search(text)


_SIZE = re.compile(
    r"(?<![a-z\d.])(?:(?P<experts>\d+)x)?(?P<billions>\d+(?:\.\d+)?)b(?:-a(?P<active>\d+(?:\.\d+)?)b)?(?=$|-)"
)


_FAMILIES = {
    "gpt-oss": r"gpt-oss",
    "gpt": r"(chat)?gpt|o[134](-|$)|codex",
    "mistral": r"\w*stral|mixtral",
    "qwen": r"qw[eq]",
    "nemotron": r".*nemotron",
}


def family_of(key: str) -> str:
    """The vendor's family of a model, as cards state it: `magistral-medium-2506` is a `mistral`."""
    for family, pattern in _FAMILIES.items():
        if re.match(pattern, key):
            return family
    return re.split(r"[-\d.]", key, maxsplit=1)[0] or key


def facts_from_name(key: str) -> ModelFacts:
    """The facts that a model's name states: its family and its size."""
    total = active = None
    if size := _SIZE.search(key):
        active = float(size["active"] or size["billions"]) * 1e9
        total = float(size["billions"]) * float(size["experts"] or 1) * 1e9
    return ModelFacts(name=key, family=family_of(key), total_parameters=total, active_parameters=active)
