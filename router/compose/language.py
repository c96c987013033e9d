"""Whether two texts are in the same language, as far as script and frequent words show. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

_LETTERS_TO_TELL = 20
_WORDS: Mapping[str, str] = {
    "en": "the of and to is are was that this it for with on as be you not what which from have",
    "de": "der die das und ist sind nicht ein eine zu mit auf für von den dem wie was ich sie es im",
    "fr": "le la les des et est une un que pour dans pas sur avec ce qui vous il elle du au sont",
    "es": "el la los las de y es una un que para en no con por se lo su del al son como qué",
    "it": "il lo la gli di e è una un che per in non con si su del della sono come cosa",
    "pt": "o a os as de e é uma um que para em não com por se do da são como você",
    "nl": "de het een en is van niet dat op te in voor met zijn aan er wat hoe ik je",
}
_STOP_WORDS = {name: frozenset(words.split()) for name, words in _WORDS.items()}


def same_language(prompt: str, text: str) -> bool:
    """Whether two texts are in the same language, as far as script and frequent words show; True where they do not."""
    first, second = _script(prompt), _script(text)
    if first is None or second is None:
        return True
    if first != second:
        return False
    spoken, written = _by_words(prompt), _by_words(text)
    return spoken is None or written is None or spoken == written


def _script(text: str) -> str | None:
    """The script of most letters; None where there are too few."""
    letters = [letter for letter in text[:2000] if letter.isalpha()]
    if len(letters) < _LETTERS_TO_TELL:
        return None
    scripts = Counter(unicodedata.name(letter, "?").split()[0] for letter in letters)
    # Japanese mixes three.
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > len(letters) / 10:
        return "JAPANESE"
    return scripts.most_common(1)[0][0]


def _by_words(text: str) -> str | None:
    """The language whose frequent words are most of those known; None where no language stands out."""
    words = re.findall(r"[^\W\d_]+", text[:4000].casefold())
    counts = sorted(((sum(word in known for word in words), name) for name, known in _STOP_WORDS.items()), reverse=True)
    (best, name), (second, _) = counts[0], counts[1]
    return name if best >= 3 and best >= 1.5 * second else None
