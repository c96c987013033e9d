"""The words by which cards state what a model accepts, produces and can do."""

from __future__ import annotations

from typing import Literal

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
