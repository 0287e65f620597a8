"""The things that a clip can show and what they are called, in English and Chinese.

Names of emoji come from the package ``emoji``, further words and the choice of emoji from
``emoji.txt``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import emoji

EMOJI_FILE = Path(__file__).with_name("emoji.txt")

SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star", "cross", "ring", "heart")
CHINESE_SHAPES: tuple[str, ...] = (
    "圆形", "方形", "三角形", "星形", "十字形", "圆环", "心形",
)  # fmt: skip

_UNCHANGED = frozenset({"sheep", "fish", "deer", "moose", "bison", "squid", "swine"})
_IRREGULAR = {
    "mouse": "mice", "goose": "geese", "ox": "oxen", "tooth": "teeth", "foot": "feet",
    "knife": "knives", "wolf": "wolves", "leaf": "leaves", "scarf": "scarves", "loaf": "loaves",
    "potato": "potatoes", "tomato": "tomatoes", "mango": "mangoes", "volcano": "volcanoes",
    "snowman": "snowmen", "man": "men", "woman": "women", "person": "people",
}  # fmt: skip
_PLURALS = frozenset({"skis", "dice"})
_HEAD_FIRST = re.compile(r" (?:of|with|in|on|without) ")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing.

    Attributes:
        number: its place in ``KINDS``.
        name: in English.
        chinese: its name in Chinese.
        synonyms: further words, some of which other kinds share.
        character: the emoji, or None for a shape.
        group: number of the group of kinds that look alike somewhat.
    """

    number: int
    name: str
    chinese: str
    synonyms: tuple[str, ...]
    character: str | None
    group: int


def is_chinese(text: str) -> bool:
    """Whether any character of a text is a Chinese one."""
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def is_plural(noun: str) -> bool:
    """Whether an English noun of ours is a plural already."""
    head = _HEAD_FIRST.split(noun)[0]
    last = head.split(" ")[-1]
    return last in _PLURALS or (last.endswith("s") and not last.endswith(("ss", "us", "is", "os")))


def plural(noun: str) -> str:
    """English plural of a noun of ours."""
    if is_plural(noun):
        return noun
    parts = _HEAD_FIRST.search(noun)
    if parts:
        return plural(noun[: parts.start()]) + noun[parts.start() :]
    *before, last = noun.split(" ")
    return " ".join((*before, _plural_word(last)))


def _plural_word(word: str) -> str:
    if word in _UNCHANGED:
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith(("s", "x", "sh", "ch", "z")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def article(noun: str) -> str:
    """The noun with a or an before it."""
    vowel = noun[0] in "aeiou" and not noun.startswith(("uni", "eu", "one-", "uf"))
    return f"{'an' if vowel else 'a'} {noun}"


def _clean(name: str) -> str:
    text = name.strip(":").replace("_", " ").replace("’", "'")
    return " ".join(text.lower().split())


def _official_name(character: str, language: str) -> str:
    entry = emoji.EMOJI_DATA.get(character, {})
    if language not in entry:
        raise ValueError(f"{EMOJI_FILE.name}: {character!r} has no name in {language!r}")
    return _clean(entry[language])


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in re.split("[,;]", text) if word.strip())


def _without_face(name: str, chinese: str) -> tuple[str, str]:
    """Both names of a "dog face" without the face; names of no face stay as they are."""
    if not name.endswith(" face"):
        return name, chinese
    return name.removesuffix(" face"), chinese.removesuffix("脸").removesuffix("头")


def read_kinds(path: Path = EMOJI_FILE) -> tuple[Kind, ...]:
    """All kinds: the shapes, then the emoji in the file's order.

    Raises:
        ValueError: a line of the file holds no known emoji.
    """
    emoji.config.load_language("zh")
    kinds = [
        Kind(number, *names, (), None, 0)
        for number, names in enumerate(zip(SHAPES, CHINESE_SHAPES, strict=True))
    ]
    group, tags = 0, tuple[str, ...]()
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            group, tags = group + 1, _words(line.strip("[]"))
            continue
        character, _, rest = line.partition(" ")
        words = _words(rest)
        given = [word[1:] for word in words if word.startswith("=")]
        name = next((w for w in given if not is_chinese(w)), _official_name(character, "en"))
        chinese = next((w for w in given if is_chinese(w)), _official_name(character, "zh"))
        synonyms = tuple(word for word in words if not word.startswith("=")) + tags
        kinds.append(Kind(len(kinds), name, chinese, synonyms, character, group))
    return tuple(_with_faces(kinds))


def _with_faces(kinds: list[Kind]) -> list[Kind]:
    """Let a kind called "X face" be called X too where another one is."""
    chinese_of = {kind.name: kind.chinese for kind in kinds}
    finished = []
    for kind in kinds:
        plain, chinese = _without_face(kind.name, kind.chinese)
        words = kind.synonyms
        if plain != kind.name:
            words += ("face", "脸")
        if plain != kind.name and plain in chinese_of:
            words = (plain, chinese_of[plain], chinese, *words)
        own = (kind.name, kind.chinese)
        words = tuple(word for word in dict.fromkeys(words) if word not in own)
        finished.append(
            Kind(kind.number, kind.name, kind.chinese, words, kind.character, kind.group)
        )
    return finished


KINDS: tuple[Kind, ...] = read_kinds()
