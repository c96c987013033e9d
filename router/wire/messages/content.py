"""Anthropic's content blocks as chat's parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.wire.chat.transcript import Part
from router.wire.fields import entries, fields_of, kind_of, non_empty_text, reject, text_of

Marks = Mapping[str, Any]
"""What a block carries over to whatever it becomes: its cache mark, or nothing."""


def marks_of(block: Mapping[str, Any]) -> Marks:
    """The block's cache mark, where the upstream takes it."""
    mark = block.get("cache_control")
    return {"cache_control": mark} if mark is not None else {}


def parts_of(content: Any, where: str) -> list[Part]:
    """A text, or a list of blocks that are all text, images or documents."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part for block, place in entries(content, where) for part in parts_of_block(block, place)]


def text_parts(content: Any, where: str) -> list[Part]:
    """A text, or a list of text blocks."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    blocks = list(entries(content, where))
    for block, place in blocks:
        if kind_of(block, place) != "text":
            reject(f"{place}.type", f'is "{block["type"]}": only text can stand here')
    return [part for block, place in blocks for part in parts_of_block(block, place)]


def parts_of_block(block: Mapping[str, Any], where: str) -> list[Part]:
    """One block of text, an image, a document or a search result."""
    kind = kind_of(block, where)
    marks = marks_of(block)
    if kind == "text":
        # An empty text is refused by some upstreams, and says nothing.
        text = text_of(block.get("text"), f"{where}.text")
        return [{"type": "text", "text": text, **marks}] if text else []
    if kind == "image":
        return [{"type": "image_url", "image_url": {"url": _image(block, where)}, **marks}]
    if kind == "document":
        return _document(block, where, marks)
    if kind == "search_result":
        found = text_parts(block.get("content"), f"{where}.content")
        lines = (block.get("title"), block.get("source"), *(part["text"] for part in found))
        return [{"type": "text", "text": _lines(*lines), **marks}]
    return reject(f"{where}.type", f'is "{kind}", which only Anthropic\'s own models read')


def _text_and_images(content: Any, where: str) -> list[Part]:
    if isinstance(content, str):
        return parts_of(content, where)
    blocks = list(entries(content, where))
    for block, place in blocks:
        if kind_of(block, place) not in ("text", "image"):
            reject(f"{place}.type", f'is "{block["type"]}": only text and images can stand in a document')
    return [part for block, place in blocks for part in parts_of_block(block, place)]


def _document(block: Mapping[str, Any], where: str, marks: Marks) -> list[Part]:
    source = fields_of(block.get("source"), f"{where}.source")
    kind = kind_of(source, f"{where}.source")
    title, context = block.get("title"), block.get("context")
    if kind == "text":
        data = text_of(source.get("data"), f"{where}.source.data")
        return [{"type": "text", "text": _lines(title, context, data), **marks}]
    if kind == "content":
        within = _text_and_images(source.get("content"), f"{where}.source.content")
        about = _lines(title, context)
        parts: list[Part] = [{"type": "text", "text": about}, *within] if about else within
        return [*parts[:-1], {**parts[-1], **marks}] if parts else []
    if kind == "base64":
        media = non_empty_text(source.get("media_type"), f"{where}.source.media_type")
        data = non_empty_text(source.get("data"), f"{where}.source.data")
        name = title if isinstance(title, str) and title else "document.pdf"
        file = {"filename": name, "file_data": f"data:{media};base64,{data}"}
        return [{"type": "file", "file": file, **marks}]
    return reject(
        f"{where}.source.type", f'is "{kind}": send the document itself, as base64, to a model not Anthropic\'s'
    )


def _image(block: Mapping[str, Any], where: str) -> str:
    source = fields_of(block.get("source"), f"{where}.source")
    kind = kind_of(source, f"{where}.source")
    if kind == "url":
        return non_empty_text(source.get("url"), f"{where}.source.url")
    if kind == "base64":
        media = non_empty_text(source.get("media_type"), f"{where}.source.media_type")
        return f"data:{media};base64,{non_empty_text(source.get('data'), f'{where}.source.data')}"
    return reject(
        f"{where}.source.type", f'is "{kind}": send the image itself, or its URL, to a model not Anthropic\'s'
    )


def _lines(*lines: Any) -> str:
    return "\n".join(line for line in lines if isinstance(line, str) and line)
