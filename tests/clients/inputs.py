"""Inputs shared by the tests of several clients: a tool, a schema, an image."""

from __future__ import annotations

from typing import Any

import pydantic

WEATHER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER: dict[str, Any] = {
    "name": "get_weather",
    "description": "The weather of a city in the coming days.",
    "parameters": WEATHER_SCHEMA,
}
CHAT_TOOL: dict[str, Any] = {"type": "function", "function": {**WEATHER, "strict": True}}
# The fake provider calls the tool once for every city that it knows.
BOTH_CITIES = "What is the weather in Oslo and in Lima?"

# One transparent pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
PIXEL_URL = f"data:image/png;base64,{PIXEL}"
PIXEL_ANSWER = "I see image/png of 70 bytes"


class Person(pydantic.BaseModel):
    """A person, as a structured output."""

    name: str
    age: int
    hobbies: list[str]
