"""The types of content parts that clients may send, and the modality of those that are not text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.errors import did_you_mean
from router.wire.fields import reject

PART_MODALITIES: Mapping[str, str] = {
    "audio": "audio",
    "audio_url": "audio",
    "document_url": "pdf",
    "file": "pdf",
    "image": "image",
    "image_url": "image",
    "input_audio": "audio",
    "input_image": "image",
    "input_video": "video",
    "video": "video",
    "video_url": "video",
}
"""The modality of a chat message's part by its type."""

_CHAT = frozenset({"file", "image_url", "input_audio", "refusal", "text"})
# What servers accept beyond OpenAI's own types: vLLM, Mistral, Qwen, and Bedrock through litellm.
_CHAT_EXTENSIONS = frozenset(
    {
        "audio",
        "audio_embeds",
        "audio_url",
        "document_url",
        "guarded_text",
        "image_embeds",
        "reference",
        "video",
        "video_url",
    }
)
_RESPONSES = frozenset(
    {
        "computer_screenshot",
        "input_audio",
        "input_file",
        "input_image",
        "input_text",
        "input_video",
        "output_text",
        "reasoning_text",
        "refusal",
        "summary_text",
        "text",
    }
)
_MESSAGES = frozenset(
    {
        "advisor_tool_result",
        "bash_code_execution_tool_result",
        "browser_state",
        "code_execution_tool_result",
        "compaction",
        "container_upload",
        "document",
        "fallback",
        "image",
        "mcp_tool_listing",
        "mcp_tool_result",
        "mcp_tool_use",
        "redacted_thinking",
        "search_result",
        "server_tool_use",
        "text",
        "text_editor_code_execution_tool_result",
        "thinking",
        "tool_addition",
        "tool_reference",
        "tool_removal",
        "tool_result",
        "tool_search_tool_result",
        "tool_use",
        "web_fetch_tool_result",
        "web_search_tool_result",
    }
)
# One set for all protocols: chat clients send Anthropic's blocks to Claude through litellm, for example.
PART_TYPES = _CHAT | _CHAT_EXTENSIONS | _RESPONSES | _MESSAGES
"""The types of content parts of all protocols."""

# Blocks whose own content is a list of parts of the client.
_NESTED = frozenset({"search_result", "tool_result"})
_TOOL_OUTPUTS = ("custom_tool_call_output", "function_call_output")


def check_part_type(kind: str, path: str) -> None:
    """Raise FieldError where no protocol has content parts of the type `kind`; `path` is the part's."""
    if kind not in PART_TYPES:
        hint = did_you_mean(kind, PART_TYPES) or "; send text, an image, audio or a file"
        reject(f"{path}.type", f'is "{kind}", which is not a known type of content{hint}')


def check_part_types(body: Mapping[str, Any]) -> None:
    """Raise FieldError for the first part of a Messages or Responses body whose type no protocol has."""
    _check_parts(body.get("system"), "system")
    for field in ("messages", "input"):
        entries = body.get(field)
        for position, entry in enumerate(entries if isinstance(entries, list) else ()):
            if not isinstance(entry, Mapping):
                continue
            path = f"{field}[{position}]"
            if entry.get("type") in (None, "message"):
                _check_parts(entry.get("content"), f"{path}.content")
            elif entry.get("type") in _TOOL_OUTPUTS:
                _check_parts(entry.get("output"), f"{path}.output")


def _check_parts(parts: Any, path: str) -> None:
    for position, part in enumerate(parts if isinstance(parts, list) else ()):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if not isinstance(kind, str):
            continue
        check_part_type(kind, f"{path}[{position}]")
        if kind in _NESTED:
            _check_parts(part.get("content"), f"{path}[{position}].content")
