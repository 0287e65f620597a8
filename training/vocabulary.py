"""What the generated clips can show and how it is named in prompts.

The only place where shapes, colours, held-out pairs and phrasings are listed.
"""

from __future__ import annotations

from dataclasses import dataclass

SHAPES: tuple[str, ...] = (
    "circle",
    "square",
    "triangle",
    "star",
    "cross",
    "ring",
    "heart",
)

# Hue in degrees, saturation and value ranges; ranges keep a gap between neighbouring names.
COLOR_RANGES: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-8.0, 6.0), (0.80, 1.0), (0.72, 1.0)),
    "orange": ((22.0, 34.0), (0.85, 1.0), (0.90, 1.0)),
    "yellow": ((50.0, 62.0), (0.75, 1.0), (0.88, 1.0)),
    "green": ((100.0, 140.0), (0.65, 1.0), (0.50, 0.90)),
    "cyan": ((172.0, 190.0), (0.65, 1.0), (0.80, 1.0)),
    "blue": ((215.0, 240.0), (0.72, 1.0), (0.60, 1.0)),
    "purple": ((272.0, 298.0), (0.60, 1.0), (0.55, 0.95)),
    "white": ((0.0, 360.0), (0.0, 0.04), (0.93, 1.0)),
}
COLORS: tuple[str, ...] = tuple(COLOR_RANGES)

# Never drawn and never named in training; they measure how words combine.
HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    {
        ("red", "star"),
        ("orange", "square"),
        ("yellow", "cross"),
        ("green", "ring"),
        ("cyan", "triangle"),
        ("blue", "heart"),
        ("purple", "triangle"),
        ("white", "circle"),
    }
)

TRAIN_PAIRS: tuple[tuple[str, str], ...] = tuple(
    (color, shape) for color in COLORS for shape in SHAPES if (color, shape) not in HELD_OUT
)

#: Stands for "no words, look at the exemplars", as in the released model.
VISUAL = "visual"

GENERIC: tuple[str, ...] = ("shape", "object", "thing")

# Colours and nouns that no clip shows: prompts made of them must find nothing.
ABSENT_COLORS: tuple[str, ...] = ("black", "brown", "gray", "pink", "silver", "beige")
ABSENT_NOUNS: tuple[str, ...] = (
    "airplane", "apple", "arrow", "baby", "bag", "ball", "banana", "bear", "bed", "bench",
    "bicycle", "bird", "boat", "book", "bottle", "box", "boy", "bridge", "bus", "cake",
    "camera", "car", "cat", "chair", "cloud", "cow", "cube", "cup", "diamond", "dog",
    "door", "elephant", "face", "fish", "flower", "fork", "fruit", "girl", "glass", "goat",
    "grass", "hand", "hat", "horse", "house", "jacket", "key", "kite", "knife", "lamp",
    "laptop", "leaf", "letter", "line", "lion", "man", "moon", "mountain", "mouse", "oval",
    "painting", "paper", "pen", "person", "phone", "pizza", "plane", "plant", "plate", "player",
    "rectangle", "river", "road", "robot", "rock", "sheep", "ship", "shirt", "shoe", "sign",
    "sky", "snow", "sofa", "spoon", "sun", "table", "text", "tie", "tiger", "tower",
    "toy", "train", "tree", "truck", "tshirt", "umbrella", "wall", "wheel", "window", "woman",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Concept:
    """A meaning: a colour, a shape, both, or neither (everything drawn).

    Attributes:
        color: one of ``COLORS``, or None for any.
        shape: one of ``SHAPES``, or None for any.
    """

    color: str | None
    shape: str | None

    def matches(self, color: str, shape: str) -> bool:
        """Whether an object of this colour and shape belongs to the concept."""
        return self.color in (None, color) and self.shape in (None, shape)


def plural(noun: str) -> str:
    """English plural of the nouns used here."""
    return noun + ("es" if noun.endswith(("s", "x", "sh", "ch")) else "s")


def phrasings(concept: Concept) -> list[str]:
    """All ways in which a concept is worded; the first is the plain one."""
    nouns = GENERIC if concept.shape is None else (concept.shape,)
    prefix = "" if concept.color is None else f"{concept.color} "
    phrases = [] if concept.shape or not concept.color else [concept.color]
    for noun in nouns:
        phrases += [f"{prefix}{noun}", f"{prefix}{plural(noun)}"]
        phrases += [f"a {prefix}{noun}", f"the {prefix}{noun}", f"all {prefix}{plural(noun)}"]
    return phrases


def all_concepts(*, held_out: bool) -> list[Concept]:
    """Every concept, without the held-out pairs unless ``held_out``."""
    pairs = [
        Concept(color, shape)
        for color in COLORS
        for shape in SHAPES
        if held_out or (color, shape) not in HELD_OUT
    ]
    singles = [Concept(color, None) for color in COLORS]
    singles += [Concept(None, shape) for shape in SHAPES]
    return [*pairs, *singles, Concept(None, None)]


def corpus() -> list[str]:
    """The phrases the tokenizer is fitted on."""
    phrases = [VISUAL]
    for concept in all_concepts(held_out=True):
        phrases += phrasings(concept)
    phrases += ABSENT_NOUNS
    phrases += [f"{color} {noun}" for color in ABSENT_COLORS for noun in GENERIC]
    return phrases
