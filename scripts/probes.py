"""Write the probes that are shipped with the package: `python scripts/probes.py [FOLDER]`.

Every answer is computed, except those of the passages, the idioms and the questions of general knowledge, which are
written by hand in `probes_by_hand.py`. The same seed gives the same bytes on every machine. Difficulty is from 1 to 5;
every family of questions documents its measure. Difficulties are comparable only inside a family: a step of arithmetic
is not a step of logic.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from probes_by_hand import KNOWLEDGE, LANGUAGES, PASSAGES, Language

SEED = 20260101
FOLDER = Path(__file__).resolve().parent.parent / "router" / "shipped" / "probes"
LEVELS = range(1, 6)
NAMES = (
    "Ada",
    "Ben",
    "Chen",
    "Dina",
    "Emil",
    "Fatima",
    "Goran",
    "Hana",
    "Ivo",
    "Jana",
    "Karim",
    "Lena",
    "Mara",
    "Nils",
)

Line = dict[str, Any]
Family = Callable[[random.Random], Iterator[Line]]


def line(prompt: str, answer: Any, grader: str, difficulty: int, language: str = "en") -> Line:
    """One probe, without its id and domain."""
    made = {"prompt": prompt, "answer": answer, "grader": grader, "difficulty": difficulty}
    return made if language == "en" else {**made, "language": language}


def with_options(question: str, right: str, wrong: tuple[str, ...], rng: random.Random) -> tuple[str, str]:
    """The question with its options in a random order, and the letter of the right one."""
    options = [right, *wrong]
    rng.shuffle(options)
    letters = "ABCDEFGH"[: len(options)]
    shown = "\n".join(f"{letter}) {option}" for letter, option in zip(letters, options, strict=True))
    return f"{question}\n\n{shown}", letters[options.index(right)]


# arithmetic


def chains(rng: random.Random) -> Iterator[Line]:
    """A calculation; the difficulty is its number of operations, less one from the second on."""
    for level in LEVELS:
        for _ in range(3):
            operations = level + (level > 1)
            numbers = [rng.randint(3, 12 * level) for _ in range(operations + 1)]
            signs = [rng.choice("+-*") for _ in range(operations)]
            written = str(numbers[0]) + "".join(f" {s} {n}" for s, n in zip(signs, numbers[1:], strict=True))
            value = _value(numbers, signs)
            shown = written.replace("*", "×").replace("-", "−")
            yield line(f"Compute {shown}.", value, "number", level)


def _value(numbers: list[int], signs: list[str]) -> int:
    terms = [numbers[0]]
    for sign, number in zip(signs, numbers[1:], strict=True):
        if sign == "*":
            terms[-1] *= number
        else:
            terms.append(number if sign == "+" else -number)
    return sum(terms)


def products(rng: random.Random) -> Iterator[Line]:
    """Long multiplication; the difficulty is the number of digits: 2 × 1, 2 × 2, 3 × 2, 3 × 3, 4 × 4."""
    for level, (left, right) in zip(LEVELS, ((2, 1), (2, 2), (3, 2), (3, 3), (4, 4)), strict=True):
        for _ in range(2):
            a, b = (
                rng.randint(10 ** (left - 1) + 3, 10**left - 1),
                rng.randint(max(3, 10 ** (right - 1)), 10**right - 1),
            )
            yield line(f"What is {a} times {b}?", a * b, "number", level)


def stories(rng: random.Random) -> Iterator[Line]:
    """A story in which a quantity changes; the difficulty is the number of events."""
    for level in LEVELS:
        for _ in range(3):
            name, count, sentences = rng.choice(NAMES), rng.randint(12, 60), []
            things = rng.choice(("marbles", "stamps", "stickers", "postcards", "seashells"))
            start, events = count, rng.sample(range(6), 5)[:level]
            for event in events:
                count, words = _event(event, count, things, rng)
                sentences.append(words)
            if level > 1 and not sentences[-1].startswith("NAME"):
                sentences[-1] = f"Finally, {sentences[-1][0].lower()}{sentences[-1][1:]}"
            story = " ".join(sentences).replace("NAME", name)
            yield line(
                f"{name} has {start} {things}. {story} How many {things} does {name} have now?", count, "number", level
            )


def _event(event: int, count: int, things: str, rng: random.Random) -> tuple[int, str]:
    if event == 0:
        packs, size = rng.randint(2, 9), rng.randint(3, 12)
        return count + packs * size, f"A friend brings {packs} bags with {size} {things} each."
    if event == 1:
        lost = rng.randint(2, max(2, count // 3))
        return count - lost, f"NAME then loses {lost} of them."
    if event == 2:
        return count * 2, "A sister gives exactly as many as there already are."
    if event == 3:
        kept = count // 2
        return count - kept, f"A cousin is given half of them{', rounded down' if count % 2 else ''}."
    if event == 4:
        rows, each = rng.randint(2, 5), rng.randint(2, 5)
        return count - rows * each if count > rows * each else count + rows * each, (
            f"A class of {rows * each} pupils gets one each as a present."
            if count > rows * each
            else f"A class of {rows * each} pupils hands over one each as a present."
        )
    found = rng.randint(3, 30)
    return count + found, f"A box in the attic holds {found} more."


def integers(rng: random.Random) -> Iterator[Line]:
    """Divisors and remainders; the difficulty is that of the standard method, from one division to modular powers."""
    a, b = rng.randint(200, 900), rng.randint(7, 19)
    yield line(f"What is the remainder when {a} is divided by {b}?", a % b, "number", 1)
    number = rng.randint(10**5, 10**6)
    yield line(f"What is the sum of the digits of {number}?", sum(map(int, str(number))), "number", 1)
    for _ in range(2):
        factor = rng.randint(4, 18)
        a, b = factor * rng.randint(5, 25), factor * rng.randint(5, 25)
        yield line(f"What is the greatest common divisor of {a} and {b}?", math.gcd(a, b), "number", 2)
    a, b = rng.randint(12, 48), rng.randint(12, 48)
    yield line(f"What is the least common multiple of {a} and {b}?", math.lcm(a, b), "number", 3)
    number = rng.choice((360, 504, 540, 756, 840))
    count = sum(number % each == 0 for each in range(1, number + 1))
    yield line(f"How many positive divisors does {number} have, 1 and itself included?", count, "number", 3)
    base, modulus = rng.choice((3, 7)), rng.choice((11, 13))
    exponent = rng.randint(40, 99)
    yield line(
        f"What is the remainder when {base}^{exponent} is divided by {modulus}?",
        pow(base, exponent, modulus),
        "number",
        4,
    )
    limit = rng.randint(300, 600)
    count = sum(each % 4 == 0 or each % 7 == 0 for each in range(1, limit + 1))
    yield line(f"How many whole numbers from 1 to {limit} are divisible by 4 or by 7?", count, "number", 4)
    number = rng.randint(35, 60)
    zeros = sum(number // 5**power for power in (1, 2, 3))
    yield line(
        f"With how many zeros does the number {number}! (factorial) end in decimal notation?", zeros, "number", 4
    )
    exponent = rng.randint(1000, 3000)
    yield line(
        f"What are the last two digits of 7^{exponent} + 13? Give them as a number.",
        (pow(7, exponent, 100) + 13) % 100,
        "number",
        5,
    )


def quantities(rng: random.Random) -> Iterator[Line]:
    """Times, percentages, rates; the difficulty is the number of conversions and operations."""
    hour, minute, length = rng.randint(6, 11), rng.randint(5, 55), rng.randint(70, 290)
    end = hour * 60 + minute + length
    question = (
        f"A film starts at {hour:02}:{minute:02} and lasts {length} minutes. At what time does it end? Write HH:MM in"
        " 24-hour form."
    )
    yield line(question, f"{end // 60:02}:{end % 60:02}", "text", 2)
    price, off = rng.randint(4, 30) * 20, rng.choice((5, 15, 25, 35))
    yield line(
        f"A coat costs {price} euros. It is reduced by {off} %. What does it cost now, in euros?",
        _plain(price * (100 - off) / 100),
        "number",
        2,
    )
    days = rng.randint(40, 400)
    week = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    first = rng.randrange(7)
    yield line(
        f"Today is {week[first]}. What day of the week is it in {days} days?", week[(first + days) % 7], "text", 2
    )
    speed, minutes = rng.randint(4, 12) * 15, rng.choice((20, 40, 80, 100))
    yield line(
        f"A car drives at a steady {speed} km/h for {minutes} minutes. How many kilometres does it cover?",
        speed * minutes // 60,
        "number",
        2,
    )
    up, down = rng.choice(((20, 25), (10, 50), (60, 25), (25, 40))), 1000
    final = down * (100 + up[0]) * (100 - up[1]) / 10_000
    yield line(
        f"A price of {down} euros rises by {up[0]} % and then falls by {up[1]} %. What is it now, in euros?",
        _plain(final),
        "number",
        3,
    )
    workers = rng.choice(((4, 15), (6, 20), (8, 9)))
    days = workers[0] * workers[1]
    new = rng.choice([each for each in (3, 5, 10, 12) if days % each == 0 and each != workers[0]])
    yield line(
        f"{workers[0]} workers need {workers[1]} days for a wall. How many days do {new} workers need, at the same"
        " pace?",
        days // new,
        "number",
        3,
    )
    out, back = rng.choice(((60, 40), (90, 60), (30, 20), (120, 80)))
    average = 2 * out * back / (out + back)
    yield line(
        f"You drive to a town at {out} km/h and return on the same road at {back} km/h. What is your average speed for"
        " the whole trip, in km/h?",
        _plain(average),
        "number",
        4,
    )
    share = rng.choice(((3, 4, 5), (2, 3, 7), (1, 4, 7)))
    whole = 12 * rng.randint(20, 60)
    yield line(
        f"{whole} euros are split among three heirs in the ratio {share[0]}:{share[1]}:{share[2]}. How many euros does"
        " the second heir get?",
        whole * share[1] // 12,
        "number",
        3,
    )
    salt, litres, target = 20, rng.choice((3, 6, 9)), 15
    water = litres * salt / target - litres
    yield line(
        f"You have {litres} litres of a {salt} % salt solution. How many litres of pure water make it a {target} %"
        " solution? (Percentages by volume; volumes add up.)",
        _plain(water),
        "number",
        5,
    )
    red, blue = rng.randint(3, 5), rng.randint(4, 6)
    ways, right = math.comb(red + blue, 3), math.comb(red, 2) * blue
    divisor = math.gcd(ways, right)
    yield line(
        f"An urn holds {red} red and {blue} blue balls. Three are drawn without putting any back. What is the"
        " probability that exactly two are red? Give a fraction such as 3/7.",
        f"{right // divisor}/{ways // divisor}",
        "number",
        5,
    )


def _plain(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


# logic


def orders(rng: random.Random) -> Iterator[Line]:
    """Positions in a row of people; the difficulty is the number of people, less two."""
    relations = (("taller than", "tallest"), ("older than", "oldest"), ("faster than", "fastest"))
    for level in LEVELS:
        for variant in range(3):
            people = rng.sample(NAMES, level + 2)
            than, most = relations[variant]
            facts = [f"{first} is {than} {second}." for first, second in itertools.pairwise(people)]
            rng.shuffle(facts)
            premises = " ".join(facts)
            if variant == 2:
                question = "Sort them from the fastest to the slowest, as names separated by commas."
                yield line(f"{premises} {question}", people, "list", level)
                continue
            place = 0 if level == 1 else rng.randint(1, len(people) - 1)
            ordinal = ("", "second ", "third ", "fourth ", "fifth ", "sixth ", "seventh ")[place]
            yield line(f"{premises} Who is the {ordinal}{most}?", people[place], "text", level)


def islanders(rng: random.Random) -> Iterator[Line]:
    """Knights always tell the truth, knaves always lie; two to four of them, with exactly one solution."""
    asked = 0
    while asked < 10:
        people = rng.sample(NAMES, 2 + asked // 4)
        claims = [_claim(position, people, rng) for position in range(len(people))]
        worlds = [
            world
            for world in itertools.product((True, False), repeat=len(people))
            if all(claim(world) == world[position] for position, (_, claim) in enumerate(claims))
        ]
        if len(worlds) != 1 or not 0 < sum(worlds[0]) < len(people):
            continue
        spoken = " ".join(f'{name} says: "{words}"' for name, (words, _) in zip(people, claims, strict=True))
        intro = "On an island, knights always tell the truth and knaves always lie."
        target = rng.randrange(len(people))
        question = f"Is {people[target]} a knight or a knave? Answer with one word."
        answer = "knight" if worlds[0][target] else "knave"
        if asked % 2:
            question, answer = "How many of them are knights?", str(sum(worlds[0]))
        yield line(f"{intro} {spoken} {question}", answer, "number" if asked % 2 else "text", min(2 + asked // 3, 5))
        asked += 1


def _claim(speaker: int, people: list[str], rng: random.Random) -> tuple[str, Callable[[tuple[bool, ...]], bool]]:
    others = [position for position in range(len(people)) if position != speaker]
    other = rng.choice(others)
    kind = rng.randrange(4 if len(others) > 1 else 3)
    if kind == 0:
        return f"{people[other]} is a knave.", lambda world: not world[other]
    if kind == 1:
        return f"{people[other]} and I are of the same kind.", lambda world: world[other] == world[speaker]
    if kind == 2:
        return "At least one of us is a knave.", lambda world: not all(world)
    number = rng.randint(1, len(people) - 1)
    be, noun = ("is", "knight") if number == 1 else ("are", "knights")
    return f"Exactly {number} of us {be} {noun if number > 1 else 'a knight'}.", lambda world: sum(world) == number


def classes(rng: random.Random) -> Iterator[Line]:
    """Conclusions from rules about invented creatures; the difficulty is the number of rules to join."""
    words = ["wug", "dax", "fep", "blick", "toma", "zorp", "quill", "norb", "glim", "vesh", "pim", "trask"]
    for level in LEVELS:
        for verdict in ("Yes", "No") if level % 2 else ("Cannot be determined", "Yes"):
            kinds = rng.sample(words, level + 2)
            rules = [f"Every {one} is a {other}." for one, other in itertools.pairwise(kinds[: level + 1])]
            if verdict == "No":
                rules.append(f"No {kinds[level]} is a {kinds[level + 1]}.")
                asked = kinds[level + 1]
            elif verdict == "Yes":
                rules.append(f"Every {kinds[level + 1]} is a {kinds[0]}.")
                asked = kinds[level]
            else:
                # The rule is reversed, so that nothing follows.
                rules.append(f"Every {kinds[level + 1]} is a {kinds[level]}.")
                asked = kinds[level + 1]
            rng.shuffle(rules)
            name = rng.choice(NAMES)
            question = f"{' '.join(rules)} {name} is a {kinds[0]}. Is {name} a {asked}?"
            wrong = tuple(each for each in ("Yes", "No", "Cannot be determined") if each != verdict)
            prompt, letter = with_options(question, verdict, wrong, rng)
            yield line(prompt, letter, "choice", level)


def swaps(rng: random.Random) -> Iterator[Line]:
    """People swap things; the difficulty is half the number of swaps."""
    for level in LEVELS:
        for _ in range(2):
            people = rng.sample(NAMES, 3 + level // 2)
            things = rng.sample(("book", "ball", "key", "hat", "lamp", "flute", "map", "kite"), len(people))
            held = dict(zip(people, things, strict=True))
            statements = [", ".join(f"{name} has the {thing}" for name, thing in held.items()) + "."]
            for _ in range(2 * level):
                one, other = rng.sample(people, 2)
                held[one], held[other] = held[other], held[one]
                statements.append(f"{one} and {other} swap what they hold.")
            name = rng.choice(people)
            yield line(f"{' '.join(statements)} What does {name} hold at the end?", held[name], "text", level)


def truths(rng: random.Random) -> Iterator[Line]:
    """A Boolean expression; the difficulty is the depth of its nesting."""

    def expression(depth: int) -> str:
        if depth == 0:
            return rng.choice(("True", "False"))
        negated = "not " if rng.random() < 0.4 else ""
        return (
            f"{negated}({expression(depth - 1)} {rng.choice(('and', 'or'))}"
            f" {expression(depth - 1 if depth < 3 else depth - 2)})"
        )

    for level in LEVELS:
        written = expression(level)
        value = eval(written, {"__builtins__": {}})
        yield line(f"Evaluate, reading the operators as in Python: {written}", str(value), "text", level)


# reading


def lives(rng: random.Random) -> Iterator[Line]:
    """A paragraph about several people; the difficulty is the number of sentences to join, plus one for long ones."""
    cities = ("Lisbon", "Tallinn", "Osaka", "Quito", "Nairobi", "Leeds", "Bergen", "Lima")
    jobs = ("baker", "surveyor", "violinist", "vet", "printer", "glazier", "pilot", "botanist")
    pets = ("tortoise", "parrot", "greyhound", "ferret", "canary", "goat", "rabbit", "donkey")
    for level in (1, 2, 3, 4):
        for _ in range(6):
            count = 3 + level
            people = rng.sample(NAMES, count)
            place = dict(zip(people, rng.sample(cities, count), strict=True))
            job = dict(zip(people, rng.sample(jobs, count), strict=True))
            pet = dict(zip(people, rng.sample(pets, count), strict=True))
            born = dict(zip(people, rng.sample(range(1950, 2000), count), strict=True))
            facts = [f"{name} lives in {place[name]}." for name in people]
            facts += [f"The {job[name]} owns a {pet[name]}." for name in people]
            facts += [f"{name} works as a {job[name]}." for name in people]
            facts += [f"Whoever lives in {place[name]} was born in {born[name]}." for name in people]
            rng.shuffle(facts)
            one, other = rng.sample(people, 2)
            questions: dict[int, tuple[str, Any, str]] = {
                1: (f"What is the job of {one}?", job[one], "text"),
                2: (f"Which animal does {one} own?", pet[one], "text"),
                3: (f"In which city is the {pet[one]} kept, if its owner keeps it at home?", place[one], "text"),
                4: (
                    f"How many years lie between the births of the owner of the {pet[one]} and the {job[other]}?",
                    abs(born[one] - born[other]),
                    "number",
                ),
            }
            question, answer, grader = questions[level]
            yield line(f"{' '.join(facts)}\n\n{question}", answer, grader, min(level + 1, 5) if level > 1 else 1)


def passages(rng: random.Random) -> Iterator[Line]:
    """Written passages; the difficulty is judged by hand: 1 stated, 2 reworded, 3 joined, 4 computed or inferred."""
    del rng
    for passage, questions in PASSAGES:
        for question, answer, grader, difficulty in questions:
            yield line(f"{passage}\n\n{question}", answer, grader, difficulty)


# code


def snippets(rng: random.Random) -> Iterator[Line]:
    """The output of a Python program, obtained by running it; the difficulty is judged by the language features."""
    r = rng.randint

    def word() -> str:
        return rng.choice(("lantern", "marigold", "pulvinar", "bookkeeper", "mississippi", "crossroads", "harbour"))

    makers: tuple[tuple[int, Callable[[], str]], ...] = (
        (1, lambda: f"total = 0\nfor n in range({r(2, 5)}, {r(8, 14)}):\n    total += n\nprint(total)"),
        (1, lambda: f"word = '{word()}'\nprint(word[{r(0, 2)}:{r(4, 6)}])"),
        (1, lambda: f"items = {[r(1, 20) for _ in range(6)]}\nprint(max(items) - min(items), len(items))"),
        (2, lambda: f"print([n * n for n in range({r(5, 9)}) if n % 2 == {r(0, 1)}])"),
        (2, lambda: f"word = '{word()}'\nprint(word[::-{r(2, 3)}])"),
        (2, lambda: f"a, b = 0, 1\nwhile b < {r(60, 400)}:\n    a, b = b, a + b\nprint(a, b)"),
        (
            2,
            lambda: (
                f"counts = {{}}\nfor sign in '{word()}':\n    counts[sign] = counts.get(sign, 0) +"
                " 1\nprint(sorted(counts.items())[:3])"
            ),
        ),
        (3, lambda: f"def f(n):\n    return n if n < 2 else f(n // 2) + f(n - 2)\nprint(f({r(7, 12)}))"),
        (
            3,
            lambda: (
                f"rows = {[[r(1, 9) for _ in range(3)] for _ in range(3)]}\nprint([sum(row[i] for row in rows) for i in"
                " range(3)], rows[1][-1])"
            ),
        ),
        (
            3,
            lambda: (
                f"stack = []\nfor token in '{r(2, 9)} {r(2, 9)} + {r(2, 9)} * {r(2, 9)} -'.split():\n    if"
                " token.isdigit():\n        stack.append(int(token))\n    else:\n        b, a = stack.pop(),"
                " stack.pop()\n        stack.append({'+': a + b, '*': a * b, '-': a - b}[token])\nprint(stack)"
            ),
        ),
        (
            3,
            lambda: (
                f"words = '{word()} {word()} sea {word()}'.split()\nwords.sort(key=lambda w: (len(w),"
                " w[-1]))\nprint(words)"
            ),
        ),
        (
            4,
            lambda: (
                f"def add(item, items=[]):\n    items.append(item)\n    return items\nadd({r(1, 4)})\nadd({r(5, 9)},"
                f" [])\nprint(add({r(10, 19)}))"
            ),
        ),
        (
            4,
            lambda: (
                f"functions = [lambda x: x + i for i in range({r(3, 6)})]\nprint([f({r(10, 20)}) for f in functions])"
            ),
        ),
        (
            4,
            lambda: (
                f"class Base:\n    count = {r(0, 3)}\n    def bump(self):\n        self.count += 1\n        return"
                f" self\nclass Child(Base):\n    def bump(self):\n        super().bump().count += {r(2, 5)}\n       "
                " return self\none, two = Child(), Child()\none.bump().bump()\ntwo.bump()\nprint(one.count, two.count,"
                " Base.count)"
            ),
        ),
        (
            4,
            lambda: (
                f"def steps():\n    received = 0\n    while True:\n        received += (yield received) or {r(1, 3)}\ng"
                f" = steps()\nprint(next(g), g.send({r(4, 9)}), next(g), g.send({r(2, 7)}))"
            ),
        ),
        (
            5,
            lambda: (
                "def outer(n):\n    seen = []\n    def inner(k):\n        seen.append(k)\n        if k > 1:\n         "
                "   inner(k // 2 if k % 2 == 0 else 3 * k + 1)\n        return seen\n    return inner(n)\npath ="
                f" outer({r(9, 15)})\nprint(len(path), max(path))"
            ),
        ),
        (
            5,
            lambda: (
                f"grid = [[0] * 3] * 3\nfor i in range(3):\n    grid[i][i] += i + {r(1, 5)}\nother = [row[:] for row in"
                f" grid]\nother[0][1] = {r(10, 20)}\nprint(grid, other)"
            ),
        ),
        (
            5,
            lambda: (
                f"def f(x):\n    try:\n        return {r(20, 60)} // x\n    except ZeroDivisionError:\n        return"
                f" -1\n    finally:\n        log.append(x)\nlog = []\nprint([f(x) for x in ({r(2, 5)}, 0, -{r(3, 7)})],"
                " log)"
            ),
        ),
        (
            5,
            lambda: (
                f"data = {{{r(1, 3)}: 'a', True: 'b', 1.0: 'c', '1': 'd'}}\nvalues ="
                f" list(data.values())\nprint(len(data), values[-1], values[0], {r(7, 20)} ^ {r(2, 7)} & {r(2, 7)})"
            ),
        ),
        (
            5,
            lambda: (
                f"from functools import reduce\nn = {r(30, 99)}\nbits = []\nwhile n:\n    n, bit = divmod(n, 2)\n   "
                " bits.append(bit)\nprint(bits[::-1], reduce(lambda a, b: a * 3 + b, bits))"
            ),
        ),
    )
    for level, make in makers:
        sources: dict[str, None] = {}
        while len(sources) < 3:
            sources[make()] = None
        for source in sources:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(source, {"__name__": "probe"})
            question = f"What does this Python 3 program print?\n\n```python\n{source}\n```"
            yield line(question, printed.getvalue().strip(), "output", level)


# formats


def json_objects(rng: random.Random) -> Iterator[Line]:
    """JSON from a sentence; the difficulty increases with nesting and with rules about types."""
    only = "Reply with the JSON value only: no explanation, no Markdown."
    for level in LEVELS:
        for _ in range(3):
            name, other = rng.sample(NAMES, 2)
            age, price = rng.randint(18, 80), rng.randint(100, 999) / 100
            tags = rng.sample(("red", "round", "heavy", "new", "small", "rare"), 3)
            if level == 1:
                yield line(
                    f'Write a JSON object with the keys "name" and "age" for this person: {name} is {age} years old.'
                    f" {only}",
                    {"name": name, "age": age},
                    "json",
                    1,
                )
            elif level == 2:
                wish = (
                    'Write a JSON object with the keys "item", "price" (a number) and "tags" (an array, in the order'
                    f" given): a vase for {price:.2f} euros, {tags[0]}, {tags[1]} and {tags[2]}. Use the singular noun"
                    " without an article as the item."
                )
                yield line(f"{wish} {only}", {"item": "vase", "price": price, "tags": tags}, "json", 2)
            elif level == 3:
                people = [{"name": name, "age": age}, {"name": other, "age": age + 5}]
                wish = (
                    f'Write a JSON array of objects with the keys "name" and "age", youngest first: {other} is five'
                    f" years older than {name}, who is {age}."
                )
                yield line(f"{wish} {only}", people, "json", 3)
            elif level == 4:
                numbers = [rng.randint(1, 60) for _ in range(7)]
                right = {
                    "even": sorted(n for n in numbers if n % 2 == 0),
                    "odd": sorted(n for n in numbers if n % 2),
                    "sum": sum(numbers),
                }
                wish = (
                    'Sort these numbers into a JSON object with the keys "even", "odd" (arrays in ascending order,'
                    f' repeats kept) and "sum" (of all of them): {", ".join(map(str, numbers))}.'
                )
                yield line(f"{wish} {only}", right, "json", 4)
            else:
                lines = [(rng.choice(("pen", "cup", "bag")), rng.randint(1, 6), rng.randint(2, 20)) for _ in range(4)]
                totals: dict[str, int] = {}
                for item, count, each in lines:
                    totals[item] = totals.get(item, 0) + count * each
                order = "; ".join(f"{count} × {item} at {each} euros" for item, count, each in lines)
                right = {
                    "totals": dict(sorted(totals.items())),
                    "dearest": max(sorted(totals), key=lambda item: totals[item]),
                    "discount": None,
                }
                if sorted(totals.values())[-1] in sorted(totals.values())[:-1]:
                    raise ValueError("two items cost the same; change the seed")
                wish = (
                    f'An order: {order}. Write a JSON object with the keys "totals" (an object: for each item what it'
                    ' costs altogether, in whole euros), "dearest" (the item of the greatest total) and "discount"'
                    " (null, as there is none)."
                )
                yield line(f"{wish} {only}", right, "json", 5)


def verbatim(rng: random.Random) -> Iterator[Line]:
    """A reply that must match exactly; the difficulty is the number of simultaneous rules."""
    words = ("river", "candle", "orchard", "violin", "harbour", "meadow", "lantern", "copper")
    only = "Reply with nothing else."
    for _ in range(2):
        word = rng.choice(words)
        yield line(f"Write the word {word} in capital letters. {only}", word.upper(), "whole", 1)
        one, count = rng.choice(words), rng.randint(3, 5)
        yield line(
            f"Write the word {one} {count} times, separated by single hyphens. {only}",
            "-".join([one] * count),
            "whole",
            2,
        )
        some = rng.sample(words, 4)
        yield line(
            f"Write these words one a line, in alphabetical order, in lower case: {', '.join(some)}. {only}",
            "\n".join(sorted(some)),
            "whole",
            2,
        )
        first, last = rng.randint(3, 9), rng.randint(14, 19)
        yield line(
            f"Write the even numbers from {first} to {last}, separated by semicolons without blanks. {only}",
            ";".join(str(n) for n in range(first, last + 1) if n % 2 == 0),
            "whole",
            3,
        )
        some = rng.sample(words, 3)
        table = [("word", "letters"), *((each, str(len(each))) for each in some)]
        yield line(
            "Write CSV with the header word,letters and one row for each of these words in this order, with its number"
            f" of letters: {', '.join(some)}. No blanks after commas, no code block. {only}",
            "\n".join(map(",".join, table)),
            "whole",
            4,
        )
        word, other = rng.sample(words, 2)
        pattern = f"[{word[::-1]}|{other.upper()}|{len(word) + len(other):03}]"
        yield line(
            f'Build one line of three fields between square brackets, separated by "|" without blanks: the word {word}'
            f" spelled backwards; the word {other} in capital letters; the number of letters of both words together,"
            f" padded with zeros to three digits. {only}",
            pattern,
            "whole",
            5,
        )


def sorting(rng: random.Random) -> Iterator[Line]:
    """Sorted lists; the difficulty increases with their length and the rule."""
    for level in LEVELS:
        numbers = rng.sample(range(10, 100), 3 + 2 * level)
        rule = "in ascending order"
        ordered = sorted(numbers)
        if level > 3:
            rule, ordered = (
                "by their last digit, and by size where that is equal",
                sorted(numbers, key=lambda n: (n % 10, n)),
            )
        yield line(
            f"Sort these numbers {rule}: {', '.join(map(str, numbers))}.", [str(n) for n in ordered], "list", level
        )
        words = rng.sample(
            ("pear", "fig", "banana", "kiwi", "melon", "cherry", "quince", "grape", "lemon", "papaya", "date", "lime"),
            3 + level,
        )
        rule, by = (
            ("alphabetically", None)
            if level < 3
            else ("by their last letter, and alphabetically where that is equal", lambda w: (w[-1], w))
        )
        yield line(f"Sort these words {rule}: {', '.join(words)}.", sorted(words, key=by), "list", level)


# languages


def speaking(language: Language) -> Family:
    """Seven questions in one language; the difficulty is that of the same question in English, plus one from 2 on."""

    def family(rng: random.Random) -> Iterator[Line]:
        code = language.code
        a, b = _many(rng, 25, 90), _many(rng, 15, 60)
        yield line(language.bakery.format(a=a, b=b), 2 * a + b, "number", 2, code)
        while True:
            c, bad, each = rng.randint(5, 9), _many(rng, 15, 40), rng.randint(6, 30)
            if (bad + c * each) % 10 in (0, 5, 6, 7, 8, 9):
                break
        yield line(language.apples.format(a=bad + c * each, b=bad, c=c), each, "number", 3, code)
        first, days = rng.randrange(7), _many(rng, 16, 99)
        answers = list(language.days[(first + days) % 7])
        yield line(language.weekday.format(day=language.days[first][0], n=days), answers, "text", 3, code)
        words, value = language.number
        yield line(language.digits.format(words=words), value, "number", 1, code)
        question, right, wrong = language.grammar
        prompt, letter = with_options(question, right, wrong, rng)
        yield line(prompt, letter, "choice", 3, code)
        question, right, wrong = language.idiom
        prompt, letter = with_options(question, right, wrong, rng)
        yield line(prompt, letter, "choice", 4, code)
        question, answers = language.youngest
        yield line(question, list(answers), "text", 1, code)

    return family


def _many(rng: random.Random, least: int, most: int) -> int:
    """A number for which Russian and Arabic use the same form of the noun."""
    return rng.choice([n for n in range(least, most) if n % 10 in (0, 5, 6, 7, 8, 9)])


# knowledge


def general(rng: random.Random) -> Iterator[Line]:
    """General knowledge; the difficulty is judged by hand, from school to a university course."""
    for difficulty, question, right, *wrong in KNOWLEDGE:
        prompt, letter = with_options(question, right, tuple(wrong), rng)
        yield line(prompt, letter, "choice", difficulty)


FAMILIES: dict[str, dict[str, Family]] = {
    "arithmetic": {"chain": chains, "product": products, "story": stories, "integer": integers, "quantity": quantities},
    "logic": {"order": orders, "islander": islanders, "class": classes, "swap": swaps, "truth": truths},
    "reading": {"life": lives, "passage": passages},
    "code": {"snippet": snippets},
    "formats": {"json": json_objects, "verbatim": verbatim, "sorting": sorting},
    "languages": {language.code: speaking(language) for language in LANGUAGES},
    "knowledge": {"general": general},
}


def probes() -> list[Line]:
    """All probes, in the order of domains and families. Raises ValueError for duplicate prompts."""
    lines: list[Line] = []
    for domain, families in FAMILIES.items():
        for name, family in families.items():
            rng = random.Random(f"{SEED}/{domain}/{name}")
            for number, probe in enumerate(family(rng), start=1):
                lines.append({"prompt_id": f"{domain}-{name}-{number:02}", "domain": domain, **probe})
    prompts = [line["prompt"] for line in lines]
    if duplicate := next((prompt for prompt in prompts if prompts.count(prompt) > 1), None):
        raise ValueError(f"duplicate prompt; change the seed: {duplicate}")
    return lines


def files() -> dict[str, str]:
    """The files of the probe set, by name."""
    every_probe = probes()
    meta = {
        "name": "pulvinar-probes",
        "license": "Apache-2.0",
        "source": "written and generated by scripts/probes.py of this project; no text is from another data set",
        "seed": SEED,
        "prompts": len(every_probe),
    }
    lines = "".join(json.dumps(probe, ensure_ascii=False) + "\n" for probe in every_probe)
    return {"prompts.jsonl": lines, "meta.json": json.dumps(meta, indent=1) + "\n"}


def main() -> None:
    """Write the files."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (folder / name).write_bytes(text.encode())
    print(f"{folder}: {len(probes())} probes")


if __name__ == "__main__":
    main()
