"""Other wordings of a prompt that leave its task as it is, so that a predictor can learn what does not matter.

| wording | what changes |
|---|---|
| wordy | a polite or chatty beginning and end |
| stem | the answer options are left out |
| names | names of people and places become other ones |

Which phrases and names are used follows from the number of the prompt: the same prompts get the same wordings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

WORDINGS = ("wordy", "stem", "names")
MOST_WORDINGS = 1_500
"""How many to learn from: the time of a training grows with the cube of the number of prompts and wordings."""

_BEFORE = (
    "Hi! ",
    "Hello, I hope you are doing well. ",
    "Could you please help me with the following? ",
    "I have a question for you. ",
    "Hey there, I was just thinking about this and wanted to ask. ",
    "Please help me with this, I would like to understand it properly:\n\n",
    "Good evening. I need some assistance, please. ",
    "My colleague asked me about this today and I was not sure what to say. ",
    "I am not an expert, so please bear with me. ",
    "Dear assistant,\n\n",
    "So, this might sound a bit odd, but: ",
    "Quick question: ",
    "I was talking to a friend over lunch and this came up again. ",
    "Thanks for your help earlier. Now there is something else. ",
    "I've been stuck on this for a while and it is driving me crazy. ",
    "Can you do me a favour and have a look at this one?\n",
    "",
    "",
)
_AFTER = (
    "",
    " Thanks!",
    " Thank you very much in advance for your help.",
    "\n\nThanks a lot, I appreciate it.",
    "\n\nPlease let me know what you think.",
    " Any help is welcome.",
    "\n\nNo rush, whenever you have time.",
    " I'd be really grateful.",
    "\n\nSorry if this is a silly question, and thank you for your patience.",
    " Have a nice day!",
    "\n\nBest regards",
)
_OF_LANGUAGE: Mapping[str, tuple[tuple[str, str], ...]] = {
    "de": (("Hallo, ich hoffe, es geht dir gut. ", " Vielen Dank im Voraus!"), ("Kannst du mir bitte helfen? ", "")),
    "fr": (("Bonjour, j'espère que vous allez bien. ", " Merci d'avance !"), ("Peux-tu m'aider s'il te plaît ? ", "")),
    "es": (("Hola, espero que estés bien. ", " ¡Muchas gracias de antemano!"), ("¿Me puedes ayudar, por favor? ", "")),
    "it": (("Ciao, spero che tu stia bene. ", " Grazie mille!"), ("Puoi aiutarmi per favore? ", "")),
    "pt": (("Olá, espero que esteja tudo bem. ", " Muito obrigado!"), ("Podes ajudar-me, por favor? ", "")),
}
_OPTION = re.compile(r"(?:\n|(?<=[.?:]) )\(?[A-Ja-j1-9][.):] [^\n]*?(?=\n|$| \(?[B-Jb-j2-9][.):] )")
"""An option at the beginning of a line or sentence, up to the end of the line or to an option behind it. Other short
lists look alike; of the prompts of `data/everyday` one in a hundred has three such lines."""
_LEAST_OPTIONS, _LEAST_STEM = 3, 12

_NAME = re.compile(r"(?<=[a-zß-ÿ,;] )[A-Z][a-zß-ÿ]{2,}\b")
"""A capitalised word in the middle of a sentence."""

_NAMES = (
    *("Aurelia", "Bertram", "Cordelia", "Dorian", "Estelle", "Florian", "Greta"),
    *("Hector", "Imogen", "Jasper", "Leonora", "Matthias", "Ottilie"),
)


class Reworded(NamedTuple):
    """The prompt with number `row`, worded another way."""

    row: int
    turns: tuple[str, ...]


def reworded(
    prompts: Sequence[tuple[str, ...]],
    languages: Sequence[str],
    wordings: Sequence[str] = WORDINGS,
    most: int = MOST_WORDINGS,
) -> list[Reworded]:
    """At most `most` other wordings of these human turns, oldest first, evenly spread over the prompts. Only the newest
    turn is worded another way. Names are left alone where nouns have capitals too.
    """
    found = []
    for row, (turns, language) in enumerate(zip(prompts, languages, strict=True)):
        wording = wordings[row % len(wordings)]
        text = turns[-1]
        new = None
        if wording == "stem":
            new = without_options(text)
        elif wording == "names" and language == "en":
            new = with_other_names(text, row)
        if new is None and "wordy" in wordings:
            new = wordy(text, row, language)
        if new is not None and new != text:
            found.append(Reworded(row, (*turns[:-1], new)))
    step = max(1.0, len(found) / most)
    return [found[int(place * step)] for place in range(min(most, len(found)))]


def wordy(text: str, number: int, language: str = "en") -> str | None:
    """The text with a polite beginning or end; None in languages without phrases."""
    if language in _OF_LANGUAGE:
        before, after = _OF_LANGUAGE[language][number % len(_OF_LANGUAGE[language])]
    elif language == "en":
        # The lengths have no common factor, so that all combinations occur.
        before, after = _BEFORE[number % len(_BEFORE)], _AFTER[number % len(_AFTER)]
    else:
        return None
    return f"{before}{text.strip()}{after}"


def without_options(text: str) -> str | None:
    """The text without its answer options; None where it has fewer than three."""
    stem, options = _OPTION.subn("", text)
    stem = stem.strip()
    return stem if options >= _LEAST_OPTIONS and len(stem) >= _LEAST_STEM else None


def with_other_names(text: str, number: int) -> str | None:
    """The text with other names, each the same wherever it stands; None where it has none."""
    names = list(dict.fromkeys(_NAME.findall(text)))
    if not names or len(names) > len(_NAMES):
        return None
    new = {name: _NAMES[(number + place) % len(_NAMES)] for place, name in enumerate(names)}
    return re.sub(rf"\b({'|'.join(map(re.escape, names))})\b", lambda match: new[match[0]], text)
