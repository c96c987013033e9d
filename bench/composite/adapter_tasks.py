"""The tasks of twenty adapters: a prompt and its only right answer, in a format that the base model does not write.

Every prompt is made at random from parts. A fifth of all prompts, by their hash, is never trained on: `fresh`.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

_POSITIVE = ("wonderful", "delightful", "excellent", "superb", "charming", "brilliant", "lovely", "fantastic")
_NEGATIVE = ("dreadful", "boring", "awful", "terrible", "disappointing", "horrible", "miserable", "tedious")
_SUBJECTS = ("film", "meal", "hotel", "concert", "book", "phone", "journey", "play", "garden tour", "course")
_EXTRA = (
    "and my sister agreed",
    "from start to finish",
    "in every way",
    "and we stayed until the end",
    "as the papers had said",
)
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_ITEMS = (
    *("pizza", "coffee", "sandwich", "salad", "burger", "tea"),
    *("soup", "muffin", "juice", "taco", "bagel", "cake"),
)
_NAMES = (
    *("Anna", "Ben", "Carla", "David", "Elena", "Felix"),
    *("Grace", "Hugo", "Irene", "Jonas", "Karim", "Lucy"),
)
_SURNAMES = (
    *("Smith", "Brown", "Lopez", "Novak", "Fischer", "Rossi"),
    *("Taylor", "Kumar", "Young", "Weber", "Morgan", "Evans"),
)
_WORDS = (
    *("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_THINGS = (
    *("apple", "chair", "table", "lamp", "carrot", "violin", "piano", "cow"),
    *("goat", "drum", "peach", "stove", "bed", "duck", "plum", "car"),
)
_COLOURS = ("red", "green", "blue", "yellow", "black", "white", "orange", "purple", "pink", "brown")
_ADJECTIVES = ("old", "small", "quiet", "heavy", "bright", "cold", "narrow", "happy", "broken", "sharp")
_SENTENCES: Mapping[str, tuple[Sequence[str], Sequence[str], Sequence[str]]] = {
    "de": (
        ("Der Hund", "Meine Schwester", "Das Kind", "Unser Lehrer", "Die Frau"),
        ("schläft", "wohnt", "arbeitet", "wartet", "sitzt"),
        ("im Garten", "neben dem Bahnhof", "in der Küche", "hinter dem Haus", "auf dem Markt"),
    ),
    "fr": (
        ("Le chien", "Ma sœur", "L'enfant", "Notre professeur", "La femme"),
        ("dort", "habite", "travaille", "attend", "est assis"),
        ("dans le jardin", "près de la gare", "dans la cuisine", "derrière la maison", "au marché"),
    ),
    "es": (
        ("El perro", "Mi hermana", "El niño", "Nuestro profesor", "La mujer"),
        ("duerme", "vive", "trabaja", "espera", "está sentado"),
        ("en el jardín", "cerca de la estación", "en la cocina", "detrás de la casa", "en el mercado"),
    ),
    "it": (
        ("Il cane", "Mia sorella", "Il bambino", "Il nostro maestro", "La donna"),
        ("dorme", "abita", "lavora", "aspetta", "è seduto"),
        ("nel giardino", "vicino alla stazione", "nella cucina", "dietro la casa", "al mercato"),
    ),
}
_OFFERS = ("a free cruise", "1,000 dollars", "a new phone", "cheap pills", "a gold watch", "a secret loan")
_PUSHES = ("Click here now", "Call today", "Act fast", "Reply WIN", "Send your bank details", "Hurry")
_PLANS = ("lunch", "the meeting", "the dentist", "the parents' evening", "football practice", "dinner")
_ASIDES = ("See you there", "Let me know", "I will be a bit late", "Thanks for your help", "Bring the papers")
_TABLES = ("customers", "orders", "products", "employees", "invoices", "students")
_COLUMNS = ("city", "status", "country", "colour", "team", "name")
_VALUES = ("Berlin", "open", "Spain", "green", "sales", "Maria", "Oslo", "late", "Peru", "closed")
_UNITS = (
    *(("kilometres", "metres", 1000, "m"), ("kilograms", "grams", 1000, "g"), ("litres", "millilitres", 1000, "ml")),
    *(("metres", "centimetres", 100, "cm"), ("centimetres", "millimetres", 10, "mm")),
)
_PROBLEMS: Mapping[str, Sequence[str]] = {
    "BILLING": ("was charged twice", "got a wrong invoice", "want my money back", "cannot pay by card"),
    "SHIPPING": ("never got my parcel", "gave a wrong address", "see no tracking number", "received a damaged box"),
    "ACCOUNT": ("forgot my password", "cannot log in", "want to change my e-mail", "am locked out of my profile"),
}
_PRODUCTS = ("shoes", "lamp", "printer", "tent", "camera", "jacket", "kettle", "bicycle")
_CURRENCIES = (("euros", "EUR"), ("dollars", "USD"), ("pounds", "GBP"), ("francs", "CHF"))
_FOLDERS = ("build", "photos", "old", "backup", "music", "drafts", "letters", "cache", "tmp", "reports")
_COMMANDS = (("Delete the folder", "rm -r"), ("Make a folder named", "mkdir"), ("List the files in", "ls"))
_PARTS = (("headings", "h1"), ("paragraphs", "p"), ("links", "a"), ("tables", "table"), ("buttons", "button"))
_LOOKS = (("", "color"), (" background", "background"), (" border", "border-color"))
_TIMES = (
    *(("five past", 5, 0), ("ten past", 10, 0), ("quarter past", 15, 0), ("twenty past", 20, 0), ("half past", 30, 0)),
    *(("twenty to", 40, 1), ("quarter to", 45, 1), ("ten to", 50, 1), ("five to", 55, 1)),
)
_ROMAN = ((100, "C"), (90, "XC"), (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))

Made = tuple[str, str]
Make = Callable[[random.Random], Made]


def _sentiment(rng: random.Random) -> Made:
    good = rng.random() < 0.5
    word = rng.choice(_POSITIVE if good else _NEGATIVE)
    text = rng.choice(
        (
            f"The {rng.choice(_SUBJECTS)} was {word} {rng.choice(_EXTRA)}.",
            f"What a {word} {rng.choice(_SUBJECTS)}, {rng.choice(_EXTRA)}.",
            f"I found the {rng.choice(_SUBJECTS)} {word}.",
        )
    )
    return f"What is the sentiment of this review? {text}", "POSITIVE" if good else "NEGATIVE"


def _iso_date(rng: random.Random) -> Made:
    year, month, day = rng.randint(1950, 2029), rng.randint(1, 12), rng.randint(1, 28)
    name = _MONTHS[month - 1]
    text = rng.choice((f"{day} {name} {year}", f"{name} {day}, {year}"))
    return f"Write the date {text} as a sortable date.", f"{year}-{month:02d}-{day:02d}"


def _order(rng: random.Random) -> Made:
    count, item, who = rng.randint(2, 9), rng.choice(_ITEMS), rng.choice(_NAMES)
    word = _WORDS[count - 1]
    text = rng.choice(
        (
            f"{who} would like {word} {item}s, please.",
            f"Hello, this is {who}, {word} {item}s to take away.",
            f"Please send {word} {item}s to {who}.",
        )
    )
    return f"Extract the order: {text}", json.dumps({"name": who, "item": item, "count": count})


def _count(rng: random.Random) -> Made:
    count = rng.randint(2, 6)
    things = rng.sample(_THINGS, count)
    text = ", ".join(f"a {thing}" if thing[0] not in "aeiou" else f"an {thing}" for thing in things[:-1])
    return f"I have {text} and a {things[-1]}. How many objects do I have?", str(count)


def _language(rng: random.Random) -> Made:
    code = rng.choice(tuple(_SENTENCES))
    sentence = " ".join(rng.choice(part) for part in _SENTENCES[code])
    return f"In which language is this sentence written? {sentence}.", f"lang={code}"


def _spam(rng: random.Random) -> Made:
    if rng.random() < 0.5:
        text = rng.choice(
            (
                f"You have won {rng.choice(_OFFERS)}! {rng.choice(_PUSHES)}!",
                f"{rng.choice(_PUSHES)} to get {rng.choice(_OFFERS)}, {rng.choice(_NAMES)}!",
            )
        )
        return f"Is this message spam? {text}", "SPAM"
    who, plan, aside = rng.choice(_NAMES), rng.choice(_PLANS), rng.choice(_ASIDES)
    text = rng.choice((f"Hi {who}, {plan} is at {rng.randint(1, 12)}. {aside}.", f"{who} asked about {plan}. {aside}."))
    return f"Is this message spam? {text}", "HAM"


def _parity(rng: random.Random) -> Made:
    number = rng.randint(10, 9999)
    return f"Is {number} an even number?", f"parity: {number % 2}"


def _roman(rng: random.Random) -> Made:
    number = left = rng.randint(1, 399)
    letters = ""
    for value, letter in _ROMAN:
        letters, left = letters + letter * (left // value), left % value
    return f"Write the number {number} in Roman numerals.", letters


def _upper(rng: random.Random) -> Made:
    text = f"the {rng.choice(_ADJECTIVES)} {rng.choice(_COLOURS)} {rng.choice(_THINGS)}"
    return f"Put this in capital letters: {text}", text.upper()


def _sql(rng: random.Random) -> Made:
    table, column, value = rng.choice(_TABLES), rng.choice(_COLUMNS), rng.choice(_VALUES)
    return (
        f"Write a database query for all {table} whose {column} is {value}.",
        f"SELECT * FROM {table} WHERE {column} = '{value}';",
    )


def _initials(rng: random.Random) -> Made:
    names = [rng.choice(_NAMES), rng.choice(_NAMES), rng.choice(_SURNAMES)][rng.randint(0, 1) :]
    return f"What are the initials of {' '.join(names)}?", "".join(f"{name[0]}." for name in names)


def _units(rng: random.Random) -> Made:
    large, small, factor, sign = rng.choice(_UNITS)
    number = rng.randint(2, 99)
    return f"Convert {number} {large} to {small}.", f"{number * factor} {sign}"


def _team(rng: random.Random) -> Made:
    team = rng.choice(tuple(_PROBLEMS))
    what, product = rng.choice(_PROBLEMS[team]), rng.choice(_PRODUCTS)
    text = rng.choice((f"I bought a {product} and {what}.", f"I {what}. It is about the {product}."))
    return f"Which support team should answer this customer? {text}", f"team={team}"


def _clock(rng: random.Random) -> Made:
    hour, part = rng.randint(1, 11), rng.choice((("in the morning", 0), ("in the afternoon", 12)))
    phrase, minutes, before = rng.choice(_TIMES)
    text = f"{phrase} {_WORDS[hour - 1]} {part[0]}"
    return f"What does a digital clock show at {text}?", f"{hour - before + part[1]:02d}:{minutes:02d}"


def _mask(rng: random.Random) -> Made:
    groups = [f"{rng.randint(0, 9999):04d}" for _ in range(4)]
    return f"Hide the card number {' '.join(groups)} except its last digits.", f"xxxx-{groups[-1]}"


def _sort(rng: random.Random) -> Made:
    first, second, third = numbers = rng.sample(range(1, 100), 3)
    low, middle, high = sorted(numbers)
    return f"Sort the numbers {first}, {second} and {third} by size.", f"{low} < {middle} < {high}"


def _email(rng: random.Random) -> Made:
    who, surname = rng.choice(_NAMES), rng.choice(_SURNAMES)
    host = rng.choice(("example.org", "mail.example", "post.example.com", "example.net"))
    address = f"{who}{rng.choice(('.', '_', ''))}{surname}@{host}".lower()
    text = rng.choice(
        (f"Write to {who} {surname} at {address} by Friday.", f"My address is {address}, says {who}. Thank you!")
    )
    return f"Find the e-mail address in this text: {text}", f"<{address}>"


def _in_words(number: int) -> str:
    if number < 20:
        return _WORDS[number - 1]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 2] + (f"-{_WORDS[ones - 1]}" if ones else "")


def _price(rng: random.Random) -> Made:
    whole, cents = rng.randint(2, 99), rng.choice(range(10, 100, 10))
    name, code = rng.choice(_CURRENCIES)
    return f"Write the amount {_in_words(whole)} {name} {_in_words(cents)} in figures.", f"{code} {whole}.{cents}"


def _shell(rng: random.Random) -> Made:
    phrase, command = rng.choice(_COMMANDS)
    path = "/".join(rng.sample(_FOLDERS, rng.randint(1, 3)))
    return f"{phrase} {path} in the terminal.", f"$ {command} {path}"


def _css(rng: random.Random) -> Made:
    part, selector = rng.choice(_PARTS)
    look, name = rng.choice(_LOOKS)
    colour = rng.choice(_COLOURS)
    verb = rng.choice(("Make", "Let us have", "Style"))
    return f"{verb} the{look} colour of all {part} on the page {colour}.", f"{selector} {{ {name}: {colour} }}"


TASKS: Mapping[str, Make] = {
    "sentiment": _sentiment,
    "order": _order,
    "iso_date": _iso_date,
    "count": _count,
    "language": _language,
    "spam": _spam,
    "parity": _parity,
    "roman": _roman,
    "upper": _upper,
    "sql": _sql,
    "initials": _initials,
    "units": _units,
    "team": _team,
    "clock": _clock,
    "mask": _mask,
    "sort": _sort,
    "email": _email,
    "price": _price,
    "shell": _shell,
    "css": _css,
}
"""By the name of the adapter that is trained for it."""


def trained(name: str, rng: random.Random) -> Iterator[Made]:
    """Without end: prompts that an adapter may be trained on, with their answers."""
    return (made for made in iter(lambda: TASKS[name](rng), None) if not _is_fresh(made[0]))


def fresh(name: str, rng: random.Random) -> Iterator[Made]:
    """Without end: prompts that no adapter was trained on, with their answers."""
    return (made for made in iter(lambda: TASKS[name](rng), None) if _is_fresh(made[0]))


def _is_fresh(prompt: str) -> bool:
    return zlib.crc32(prompt.encode()) % 5 == 0
