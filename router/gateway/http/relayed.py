"""The endpoints that are relayed to the upstream of a named card, and whose bodies the gateway does not convert."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class RelayedEndpoint(Struct, frozen=True):
    """One endpoint. `path` follows `/v1/`, may contain an `{id}`, and is the same at the upstream.

    `names_card_by`: a `model` in the body; `x-route-card` in a header or the query, where a body has no model; or
    `response`, the id of a stored response, whose upstream is the one that made it.
    """

    operation: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    names_card_by: Literal["model", "header", "response"] = "model"
    needs_responses: bool = False

    @property
    def is_charged(self) -> bool:
        """Whether servers charge for it: not for files and counts of tokens, and for responses when they are made."""
        return self.names_card_by == "model" and self.operation != "response_input_tokens"


RELAYED: tuple[RelayedEndpoint, ...] = (
    RelayedEndpoint("audio_speech", "POST", "audio/speech"),
    RelayedEndpoint("audio_transcriptions", "POST", "audio/transcriptions"),
    RelayedEndpoint("audio_translations", "POST", "audio/translations"),
    RelayedEndpoint("image_generations", "POST", "images/generations"),
    RelayedEndpoint("image_edits", "POST", "images/edits"),
    RelayedEndpoint("image_variations", "POST", "images/variations"),
    RelayedEndpoint("moderations", "POST", "moderations"),
    RelayedEndpoint("rerank", "POST", "rerank"),
    RelayedEndpoint("file_upload", "POST", "files", "header"),
    RelayedEndpoint("files", "GET", "files", "header"),
    RelayedEndpoint("file", "GET", "files/{id}", "header"),
    RelayedEndpoint("file_delete", "DELETE", "files/{id}", "header"),
    RelayedEndpoint("file_content", "GET", "files/{id}/content", "header"),
    RelayedEndpoint("response_input_tokens", "POST", "responses/input_tokens", needs_responses=True),
    RelayedEndpoint("response_compact", "POST", "responses/compact", needs_responses=True),
    RelayedEndpoint("response", "GET", "responses/{id}", "response", needs_responses=True),
    RelayedEndpoint("response_delete", "DELETE", "responses/{id}", "response", needs_responses=True),
    RelayedEndpoint("response_cancel", "POST", "responses/{id}/cancel", "response", needs_responses=True),
    RelayedEndpoint("response_input_items", "GET", "responses/{id}/input_items", "response", needs_responses=True),
)
"""Paths without an `{id}` come before those with one, which would match them, too."""
