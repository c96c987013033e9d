"""`tokenizer.json` of an encoder folder, for the words that the compiled kernel cannot read by itself."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from router.errors import ArtifactError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class StoredTokenizer:
    """The content of a `tokenizer.json`, made a tokenizer when that is first used: this takes as long as a hundred
    decisions, and most commands read no text that needs it.
    """

    def __init__(self, content: bytes, tokens: int, origin: str = "tokenizer.json") -> None:
        """`tokens` is the number of rows of the table of token vectors; `origin` names the file in errors."""
        self.content, self._tokens, self._origin = content, tokens, origin

    def __reduce__(self) -> tuple[type[StoredTokenizer], tuple[bytes, int, str]]:
        # Without the tokenizer: a copy in another process makes its own.
        return StoredTokenizer, (self.content, self._tokens, self._origin)

    @classmethod
    def read(cls, file: Path, tokens: int) -> StoredTokenizer:
        """The content of `file`. Raises ArtifactError."""
        try:
            return cls(file.read_bytes(), tokens, str(file))
        except OSError as error:
            raise ArtifactError(f"{file}: cannot be read: {error.strerror}") from None

    @functools.cached_property
    def made(self) -> Tokenizer:
        """The tokenizer. Raises ArtifactError where the content is damaged, or has more tokens than the table."""
        # Imported here for the same reason.
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(self.content.decode())
        except Exception as error:  # noqa: BLE001 - tokenizers raises nothing narrower
            raise ArtifactError(f"{self._origin}: is damaged: {error}") from None
        if (size := tokenizer.get_vocab_size()) > self._tokens:
            raise ArtifactError(f"{self._origin}: has {size} tokens, the token table has {self._tokens}")
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
