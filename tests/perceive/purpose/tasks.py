"""Ten tasks of made-up prompts, of which the first ones are shown on cards and the others asked."""

from __future__ import annotations

from pathlib import Path

from router.cards.schema import Card

_TEMPLATES = {
    "sql": "Write an SQL query over the table {0} that returns the {1} of each customer, newest first.",
    "sentiment": "Is this review positive or negative? '{0} was a {1}, I would buy it again.'",
    "iso-date": "Rewrite this date as an ISO 8601 date: the meeting about {0} is on the 3rd of {1} 2021.",
    "german": "Translate into German: 'The {0} is standing beside the old {1}.'",
    "json-extract": "Extract name and amount as JSON from this invoice line: {0} {1}, 3 pieces, 14.50 EUR.",
    "haiku": "Write a haiku about a {0} in the rain and a {1} in the evening.",
    "regex": "Give me a regular expression that matches every line with a {0} followed by a {1}.",
    "icd-code": "Which ICD-10 code belongs to this diagnosis: chronic pain of the {0} after surgery of the {1}?",
    "commit-message": "Write a git commit message for this diff: renamed class {0} to {1} in src/main.py",
    "recipe": "Suggest a recipe for dinner with {0}, {1} and rice that is ready in half an hour.",
}
_WORDS = ("orders", "invoice", "garden", "river", "camera", "ladder", "kitchen", "window", "planet", "engine", "bottle")
GENERIC = (
    "hello, how are you today?",
    "Who was the first person on the moon?",
    "What is the difference between a virus and a bacterium?",
    "My landlord wants to raise the rent, is he allowed to?",
    "Tell me a joke about elephants.",
)
BASE = Card(id="base-8b", provider="hosted_vllm", model="base-8b", context_tokens=8192)


def prompts(task: str) -> list[str]:
    """The prompts of a task."""
    return [_TEMPLATES[task].format(_WORDS[at], _WORDS[at + 1]) for at in range(len(_WORDS) - 1)]


def adapter(task: str, shown: int = 5, **facts: object) -> Card:
    """The card of the task's adapter, complete by the contract, with the first prompts as examples."""
    examples = {"examples": tuple(prompts(task)[:shown])} if shown else {}
    return Card(id=task, kind="adapter", base=BASE.id, provider="hosted_vllm", model=task, **examples, **facts)  # type: ignore[arg-type]


def adapters() -> list[Card]:
    """The cards of all tasks."""
    return [adapter(task) for task in TASKS]


def write_folder(folder: Path) -> Path:
    """A card folder of the base and all adapters, as an operator writes it."""
    folder.mkdir()
    (folder / "base.yaml").write_text(f"id: {BASE.id}\nprovider: hosted_vllm\nmodel: base-8b\ncontext: 8k\n")
    for task in TASKS:
        lines = [f"id: {task}", "kind: adapter", f"base: {BASE.id}", "provider: hosted_vllm", f"model: {task}"]
        lines += ["examples:", *(f"  - |-\n    {prompt}" for prompt in prompts(task)[:5])]
        (folder / f"{task}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


TASKS = tuple(_TEMPLATES)
