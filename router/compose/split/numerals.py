"""How prompts number their tasks without digits, from one on."""

from __future__ import annotations

NUMERALS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")
ROMAN_NUMBER = "[ivx]{1,4}"
"""The pattern of a number in `ROMAN`."""
LETTERS = "abcdefghijkl"
HAN = "一二三四五六七八九十"
