"""Turns the word lists and sentence patterns of lives_tables.json into a corpus of invented life
stories (lives.txt) and multiple-choice questions on further such stories (lives.choices.jsonl).
"""

import argparse
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

HERE = Path(__file__).resolve().parent
T = TypeVar("T")

# Each bucket runs from its own number of characters up to the next one.
BUCKETS = {0: "0-50", 50: "50-100", 100: "100-200", 200: "200-400", 400: "400+"}
# The share of each kind of question; every bucket of a kind gets the same number.
SHARES = {"language": 4, "pronoun": 3, "trade": 3, "instrument": 3, "town": 3}
SHORTEST, LONGEST = 300, 1100
QUESTION_SEED_STEP = 1_000_000

# Which fact a slot names or takes up again; the other slots are decoration.
KIND_OF_SLOT = {
    "country": "language",
    "language": "language",
    "town": "town",
    "trade": "trade",
    "work": "trade",
    "doing": "trade",
    "tool": "trade",
    "instrument": "instrument",
}
TRADE_SLOTS = ("trade", "work", "doing", "tool")
PRONOUNS = {"he": ("she", "he"), "him": ("her", "him"), "his": ("her", "his")}


class Dice:
    """Chance that falls alike on every Python, as only `Random.random` is promised to."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, limit: int) -> int:
        return int(self._random.random() * limit)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def pick(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        rest = list(items)
        return [rest.pop(self.below(len(rest))) for _ in range(len(rest))]


class Deck:
    """Deals every item of a list once before it deals any of them again."""

    def __init__(self, dice: Dice, items: Sequence[Any]) -> None:
        self._dice, self._items = dice, items
        self._left: list[Any] = []

    def deal(self) -> Any:
        if not self._left:
            self._left = self._dice.shuffled(self._items)
        return self._left.pop()


@dataclass(frozen=True)
class Person:
    gender: int  # 0 for her, 1 for him: the index into PRONOUNS
    phrase: str
    role: str
    peer: bool
    kin: bool


@dataclass(frozen=True)
class Ask:
    """A place in a story where a word follows from a fact that was told `distance` before."""

    kind: str
    slot: str
    distance: int
    start: int
    answer: str

    @property
    def group(self) -> str:
        return f"{self.kind} {BUCKETS[max(low for low in BUCKETS if low <= self.distance)]}"


@dataclass
class Fact:
    """Where a fact was last named, and whether a word has followed from it yet."""

    end: int
    taken_up: bool = False


@dataclass
class Story:
    """A story as far as it is told, with the places where a word follows from a fact."""

    dice: Dice
    tables: dict[str, Any]
    values: dict[str, str]
    text: str = ""
    facts: dict[str, Fact] = field(default_factory=dict)
    asks: list[Ask] = field(default_factory=list)
    used: list[Any] = field(default_factory=list)

    def unused(self, items: Sequence[T]) -> T:
        item = self.dice.pick([item for item in items if item not in self.used] or items)
        self.used.append(item)
        return item

    def tell(self, name: str, person: Person | None = None) -> None:
        """Adds a sentence made from a pattern, new to this story, of the named list."""
        self.add(self.unused(self.tables["patterns"][name]), person)

    def fill(self, section: str) -> None:
        """Adds a sentence that has nothing to do with any fact."""
        topics = self.tables["fillers"][section]
        topic = self.unused(list(topics))
        self.add(self.dice.pick(topics[topic]), None)

    def add(self, pattern: str, person: Person | None) -> None:
        if self.text and not self.text.endswith("\n"):
            self.text += " "
        while "[" in pattern:  # from the inside out, as alternatives may hold alternatives
            pattern = re.sub(r"\[([^][]*)]", self._alternative, pattern)
        for piece in re.split(r"(\{\w+\})", pattern):
            if piece.startswith("{"):
                self._add_slot(piece[1:-1], person)
            else:
                self.text += piece

    def _alternative(self, match: re.Match[str]) -> str:
        alternatives: list[str] = match[1].split("|")
        return self.dice.pick(alternatives)

    def _add_slot(self, slot: str, person: Person | None) -> None:
        if person and slot == "person":
            self._add_fact("pronoun", slot, person.phrase, key=person.phrase)
        elif person and slot == "role":
            self.text += person.role
        elif person and slot.lower() in PRONOUNS:
            word = PRONOUNS[slot.lower()][person.gender]
            word = word.capitalize() if slot[0].isupper() else word
            self._add_fact("pronoun", slot, word, key=person.phrase)
        elif slot in KIND_OF_SLOT:
            kind = KIND_OF_SLOT[slot]
            self._add_fact(kind, slot, self.values[slot], key=kind)
        else:
            self.text += self.values.get(slot) or self.dice.pick(self.tables["words"][slot])

    def _add_fact(self, kind: str, slot: str, word: str, key: str) -> None:
        """Adds the word; the first one to take up a fact already told is a place to ask."""
        fact = self.facts.get(key)
        start = len(self.text)
        self.text += word
        if fact is None:
            self.facts[key] = Fact(end=len(self.text))
            return
        if not fact.taken_up and self.text[start - 1] == " ":
            self.asks.append(Ask(kind, slot, start - 1 - fact.end, start, word))
        fact.taken_up = True
        fact.end = len(self.text)


class Teller:
    """Makes story after story, dealing the facts evenly."""

    def __init__(self, tables: dict[str, Any], dice: Dice) -> None:
        self.tables, self.dice = tables, dice
        names = ("countries", "towns", "trades", "instruments", "surnames")
        self.decks = {name: Deck(dice, tables[name]) for name in names}
        self.names = [Deck(dice, tables["female_names"]), Deck(dice, tables["male_names"])]

    def stories(self) -> Iterator[Story]:
        while True:
            story = self._story()
            if SHORTEST <= len(story.text) <= LONGEST:
                yield story

    def _story(self) -> Story:
        dice, words = self.dice, self.tables["words"]
        country, language = self.decks["countries"].deal()
        self.story = Story(
            dice,
            self.tables,
            {
                "country": country,
                "language": language,
                "town": self.decks["towns"].deal(),
                "instrument": self.decks["instruments"].deal(),
                **dict(zip(TRADE_SLOTS, self.decks["trades"].deal(), strict=True)),
                # These would contradict themselves if they changed within a story.
                "leave": dice.pick(words["leave"]),
                "pet_b": dice.pick(words["pet_b"]),
            },
        )
        self.people: list[Person] = []
        self.absent: list[Person] = []  # told of but not yet called he or she
        self.due = {kind: self._far() for kind in ("language", "town", "trade", "instrument")}
        shape = dice.pick(("long", "long", "childhood", "adult"))
        child_instrument = shape == "childhood" or dice.chance(0.5)
        self._open()
        if shape != "adult":
            self._childhood(town=dice.chance(0.6), instrument=child_instrument)
        if shape != "childhood":
            self._adult(instrument=not child_instrument)
        self._now()
        return self.story

    def _far(self) -> int:
        """How many characters to let pass before a fact is taken up."""
        low, high = self.dice.pick(((0, 20), (20, 60), (60, 140), (140, 320), (400, 700)))
        return low + self.dice.below(high - low)

    def _open(self) -> None:
        story, dice = self.story, self.dice
        if dice.chance(0.08):
            story.tell("prelude")
        openings = ["opening_plain"] * 7 + ["opening_grew"] * 4 + ["opening_town"] * 4
        openings += ["opening_language"] * 2 + ["opening_other"] * 3
        story.tell(dice.pick(openings))
        if story.facts["language"].taken_up:
            del self.due["language"]

    def _childhood(self, town: bool, instrument: bool) -> None:
        blocks = ["filler"] * (1 + self.dice.below(4))
        if town and "town" not in self.story.facts:
            blocks.append("town_fact")
        if instrument and self.dice.chance(0.7):
            blocks.append("instrument_child")
        if self.dice.chance(0.7):
            blocks.append("person")
        self._tell_blocks("childhood", self.dice.shuffled(blocks))

    def _adult(self, instrument: bool) -> None:
        self._break()
        if self.dice.chance(0.8):
            self.story.tell("transition")
        blocks = ["filler"] * (1 + self.dice.below(3))
        if instrument and self.dice.chance(0.6):
            blocks.append("instrument_adult")
        if self.dice.chance(0.6):
            blocks.append("person")
        trade = ["trade_fact"] if self.dice.chance(0.8) else []
        self._tell_blocks("adult", trade + self.dice.shuffled(blocks))

    def _now(self) -> None:
        self._break()
        if self.dice.chance(0.35):
            self.story.tell("now_open")
        open_facts = [kind for kind in self.due if kind in self.story.facts]
        blocks = ["filler"] * self.dice.below(4) + open_facts + ["absent"] * len(self.absent)
        if not self.absent and self.dice.chance(0.3):
            blocks.append("person")
        self._tell_blocks("now", self.dice.shuffled(blocks))
        if self.dice.chance(0.15):
            self.story.tell("ending")

    def _break(self) -> None:
        if self.dice.chance(0.15):
            self.story.text += "\n"

    def _tell_blocks(self, section: str, blocks: list[str]) -> None:
        self._take_up_due(section)
        for block in blocks:
            if block == "filler":
                self.story.fill(section)
            elif block == "person":
                self._person(section)
            elif block == "absent":
                self._return(self.absent.pop())
            elif block in SHARES:
                self._take_up(block, section)
            else:
                self.story.tell(block)
            self._take_up_due(section)

    def _take_up_due(self, section: str) -> None:
        for kind, fact in list(self.story.facts.items()):
            if len(self.story.text) - fact.end >= self.due.get(kind, LONGEST):
                self._take_up(kind, section)

    def _take_up(self, kind: str, section: str) -> None:
        """Tells a sentence that follows from the fact, unless that was the last one due."""
        if kind not in self.due:
            return
        del self.due[kind]
        past = section != "now"
        if kind == "town":
            lists = {"childhood": "town_past", "adult": "town_away", "now": "town_now"}
            self.story.tell(lists[section])
        elif kind == "language":
            past = section == "childhood" and self.dice.chance(0.3)
            now = "language_fluent" if self.dice.chance(0.5) else "language_now"
            self.story.tell("language_past" if past else now)
        else:
            self.story.tell(f"{kind}_past" if past else f"{kind}_now")
        if past and self.dice.chance(0.5):
            self.due[kind] = LONGEST  # once more, among the things of today

    def _new_person(self, section: str) -> Person:
        dice = self.dice
        person = self.story.unused(self.tables["people"][section])
        gender = dice.below(2)
        if self.people and dice.chance(0.3):
            gender = 1 - self.people[-1].gender
        phrase = person[("female", "male")[gender]]
        phrase = phrase.replace("{name}", self.names[gender].deal())
        phrase = phrase.replace("{surname}", self.decks["surnames"].deal())
        role = person.get("role", "")
        self.people.append(Person(gender, phrase, role, "peer" in person, "kin" in person))
        return self.people[-1]

    def _person(self, section: str) -> None:
        story, dice = self.story, self.dice
        person = self._new_person(section)
        manner = ""
        if section == "childhood":
            manner = "_kin" if person.kin else "_peer" if person.peer else ""
        story.tell(f"intro_{section}{manner}", person=person)
        if section == "now":
            for _ in range(1 + dice.below(2)):
                if dice.chance(0.1):
                    story.fill(section)
                story.tell("about_now", person=person)
            return
        if person.role and dice.chance(0.35):
            self.absent.append(person)
            return
        elder = section == "childhood" and not person.peer
        about = ("about_past", "about_past", "about_elder") if elder else ("about_past",)
        # A bare pronoun may be parted from the name by a sentence or two, not by more.
        for _ in range(dice.pick((0, 0, 0, 1, 1, 2))):
            story.fill(section)
        for turn in range(1 + dice.below(4)):
            if turn and dice.chance(0.1):
                story.fill(section)
            story.tell(dice.pick(about), person=person)
        if not person.kin and dice.chance(0.15):
            story.tell("gone", person=person)

    def _return(self, person: Person) -> None:
        story, dice = self.story, self.dice
        story.tell("alive" if person.peer and dice.chance(0.5) else "memory", person=person)


def load_tables() -> dict[str, Any]:
    tables: dict[str, Any] = json.loads((HERE / "lives_tables.json").read_text(encoding="ascii"))
    return tables


def make_corpus(tables: dict[str, Any], seed: int, characters: int) -> list[str]:
    """Gives different stories that come to at least so many characters, blank lines counted."""
    stories: dict[str, None] = {}
    size = 0
    for story in Teller(tables, Dice(seed)).stories():
        if size >= characters:
            break
        if story.text not in stories:
            stories[story.text] = None
            size += len(story.text) + 2
    return list(stories)


def quotas(count: int) -> dict[str, int]:
    """Shares the questions out among the groups."""
    groups = {f"{kind} {bucket}": SHARES[kind] for kind in SHARES for bucket in BUCKETS.values()}
    total = sum(groups.values())
    numbers = {group: count * share // total for group, share in groups.items()}
    for group in list(groups)[: count - sum(numbers.values())]:
        numbers[group] += 1
    return numbers


def make_questions(
    tables: dict[str, Any], seed: int, count: int, corpus: Sequence[str]
) -> list[dict[str, Any]]:
    """Gives questions, each on a story of its own that is not in the corpus."""
    dice = Dice(seed + QUESTION_SEED_STEP)
    known = dict.fromkeys(corpus)
    wanted = quotas(count)
    questions: list[dict[str, Any]] = []
    stories = Teller(tables, dice).stories()
    while len(questions) < count:
        story = next(stories)
        asks = [ask for ask in story.asks if wanted[ask.group]]
        if asks and story.text not in known:
            known[story.text] = None
            ask = dice.pick(asks)
            wanted[ask.group] -= 1
            questions.append(question(tables, dice, story.text, ask))
    return dice.shuffled(questions)


def question(tables: dict[str, Any], dice: Dice, text: str, ask: Ask) -> dict[str, Any]:
    context = text[: ask.start - 1]
    if ask.kind == "pronoun":
        pair = PRONOUNS[ask.slot.lower()]
        words = [word.capitalize() if ask.slot[0].isupper() else word for word in pair]
    else:
        # A rival that the story has named already would be a second kind of clue.
        rivals = [
            word
            for word in rival_words(tables, ask.slot)
            if word != ask.answer and not re.search(rf"\b{re.escape(word)}\b", context)
        ]
        words = [ask.answer, *dice.shuffled(rivals)[:3]]
    words = dice.shuffled(words)
    return {
        "context": context,
        "choices": [f" {word}" for word in words],
        "answer": words.index(ask.answer),
        "group": ask.group,
    }


def rival_words(tables: dict[str, Any], slot: str) -> list[str]:
    if slot == "language":
        return [language for _, language in tables["countries"]]
    if slot in TRADE_SLOTS:
        return [trade[TRADE_SLOTS.index(slot)] for trade in tables["trades"]]
    words: list[str] = tables[f"{slot}s"]
    return words


def write_files(folder: Path, seed: int, characters: int, questions: int) -> None:
    tables = load_tables()
    corpus = make_corpus(tables, seed, characters)
    lines = [json.dumps(item) for item in make_questions(tables, seed, questions, corpus)]
    folder.mkdir(parents=True, exist_ok=True)
    # Bytes, so that no system turns the line ends into its own.
    (folder / "lives.txt").write_bytes(("\n\n".join(corpus) + "\n").encode("ascii"))
    (folder / "lives.choices.jsonl").write_bytes(("\n".join(lines) + "\n").encode("ascii"))


def count(text: str) -> int:
    """A number of things to write, of which there is to be one at least."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 on; give one")
    return number


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Writes lives.txt and lives.choices.jsonl.")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives other stories")
    parser.add_argument(
        "--characters", type=count, default=1_000_000, help="least size of lives.txt"
    )
    parser.add_argument("--questions", type=count, default=2000, help="how many questions to write")
    parser.add_argument("--out", type=Path, default=HERE, metavar="FOLDER", help="where to write")
    options = parser.parse_args(arguments)
    try:
        write_files(options.out, options.seed, options.characters, options.questions)
    except OSError as error:
        parser.exit(
            1, f"error: {options.out}: cannot be written ({error.strerror}); choose another --out\n"
        )


if __name__ == "__main__":
    main()
