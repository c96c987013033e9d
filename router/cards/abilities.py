"""The words by which cards state what a model accepts, produces and can do, and the names of cards."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

CardId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$",
        description="Unique name of the card; requests and responses name the card by it.",
    ),
]
Word = Annotated[str, Meta(min_length=1, max_length=200)]

Modality = Literal["text", "image", "audio", "video", "pdf"]
Capability = Literal[
    "tools",
    "parallel_tools",
    "strict_tools",
    "custom_tools",
    "json_schema",
    "reasoning",
    "logprobs",
    "multiple_choices",
    "predicted_outputs",
    "prompt_cache",
    "files",
    "web_search",
    "web_fetch",
    "file_search",
    "code_interpreter",
    "image_generation",
    "computer_use",
    "shell",
    "text_editor",
    "memory",
    "mcp",
    "tool_search",
]
Output = Literal["text", "image", "audio", "video"]

Content = Literal["text", "image", "audio", "video", "pdf", "json", "code", "sql", "html", "table"]
"""What a stage of a chain reads or writes: a kind of content, or text of a certain form."""
