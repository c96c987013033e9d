"""Convert Anthropic's content blocks to chat's content parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.wire.chat.transcript import Part
from router.wire.fields import entries, fields_of, kind_of, non_empty_text, reject, text_of

CacheControl = Mapping[str, Any]
"""The `cache_control` field of a block, to be copied to the converted part; empty where there is none."""


def cache_control_of(block: Mapping[str, Any]) -> CacheControl:
    """The block's `cache_control` field."""
    cache_control = block.get("cache_control")
    return {"cache_control": cache_control} if cache_control is not None else {}


def parts_of(content: Any, path: str) -> list[Part]:
    """The parts of a string, or of a list of text, image, document and search result blocks."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part for block, block_path in entries(content, path) for part in parts_of_block(block, block_path)]


def text_parts(content: Any, path: str) -> list[Part]:
    """The parts of a string, or of a list of text blocks."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    blocks = list(entries(content, path))
    for block, block_path in blocks:
        if kind_of(block, block_path) != "text":
            reject(f"{block_path}.type", f'is "{block["type"]}", but only text blocks are allowed here')
    return [part for block, block_path in blocks for part in parts_of_block(block, block_path)]


def parts_of_block(block: Mapping[str, Any], path: str) -> list[Part]:
    """The parts of one block: text, an image, a document or a search result."""
    kind = kind_of(block, path)
    cache_control = cache_control_of(block)
    if kind == "text":
        # Some upstreams reject empty texts.
        text = text_of(block.get("text"), f"{path}.text")
        return [{"type": "text", "text": text, **cache_control}] if text else []
    if kind == "image":
        return [{"type": "image_url", "image_url": {"url": _image(block, path)}, **cache_control}]
    if kind == "document":
        return _document(block, path, cache_control)
    if kind == "search_result":
        results = text_parts(block.get("content"), f"{path}.content")
        lines = (block.get("title"), block.get("source"), *(part["text"] for part in results))
        return [{"type": "text", "text": _lines(*lines), **cache_control}]
    return reject(f"{path}.type", f'is "{kind}", which only Anthropic models support; remove the block')


def _text_and_images(content: Any, path: str) -> list[Part]:
    if isinstance(content, str):
        return parts_of(content, path)
    blocks = list(entries(content, path))
    for block, block_path in blocks:
        if kind_of(block, block_path) not in ("text", "image"):
            reject(f"{block_path}.type", f'is "{block["type"]}", but a document may contain only text and images')
    return [part for block, block_path in blocks for part in parts_of_block(block, block_path)]


def _document(block: Mapping[str, Any], path: str, cache_control: CacheControl) -> list[Part]:
    source = fields_of(block.get("source"), f"{path}.source")
    kind = kind_of(source, f"{path}.source")
    title, context = block.get("title"), block.get("context")
    if kind == "text":
        data = text_of(source.get("data"), f"{path}.source.data")
        return [{"type": "text", "text": _lines(title, context, data), **cache_control}]
    if kind == "content":
        content_parts = _text_and_images(source.get("content"), f"{path}.source.content")
        heading = _lines(title, context)
        parts: list[Part] = [{"type": "text", "text": heading}, *content_parts] if heading else content_parts
        return [*parts[:-1], {**parts[-1], **cache_control}] if parts else []
    if kind == "base64":
        media = non_empty_text(source.get("media_type"), f"{path}.source.media_type")
        data = non_empty_text(source.get("data"), f"{path}.source.data")
        name = title if isinstance(title, str) and title else "document.pdf"
        file = {"filename": name, "file_data": f"data:{media};base64,{data}"}
        return [{"type": "file", "file": file, **cache_control}]
    return reject(
        f"{path}.source.type", f'is "{kind}", which only Anthropic models support; send the document as base64'
    )


def _image(block: Mapping[str, Any], path: str) -> str:
    source = fields_of(block.get("source"), f"{path}.source")
    kind = kind_of(source, f"{path}.source")
    if kind == "url":
        return non_empty_text(source.get("url"), f"{path}.source.url")
    if kind == "base64":
        media = non_empty_text(source.get("media_type"), f"{path}.source.media_type")
        return f"data:{media};base64,{non_empty_text(source.get('data'), f'{path}.source.data')}"
    return reject(
        f"{path}.source.type", f'is "{kind}", which only Anthropic models support; send the image as base64 or its URL'
    )


def _lines(*lines: Any) -> str:
    return "\n".join(line for line in lines if isinstance(line, str) and line)
