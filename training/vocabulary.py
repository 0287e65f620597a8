"""What prompts can mean and how it is worded.

The only place where colours, held-out pairs and phrasings are listed; the things themselves are
in ``names``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from training.names import CHINESE_SHAPES, KINDS, SHAPES, article, is_chinese, plural

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
CHINESE_COLORS: tuple[str, ...] = (
    "红色", "橙色", "黄色", "绿色", "青色", "蓝色", "紫色", "白色",
)  # fmt: skip

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

#: (colour number, shape number) of all pairs and of those that training may show.
ALL_PAIRS: tuple[tuple[int, int], ...] = tuple(
    (color, shape) for color in range(len(COLORS)) for shape in range(len(SHAPES))
)
TRAIN_PAIRS: tuple[tuple[int, int], ...] = tuple(
    (color, shape) for color, shape in ALL_PAIRS if (COLORS[color], SHAPES[shape]) not in HELD_OUT
)

#: Stands for "no words, look at the exemplars", as in the released model.
VISUAL = "visual"

GENERIC: tuple[str, ...] = ("object", "thing", "shape")
CHINESE_GENERIC: tuple[str, ...] = ("物体", "东西", "形状")

# Colours and nouns that no clip shows: prompts made of them must find nothing.
ABSENT_COLORS: tuple[str, ...] = ("black", "brown", "gray", "pink", "silver", "beige")
ABSENT_NOUNS: tuple[str, ...] = (
    "accordion", "airport", "arrow", "baby", "barrel", "bathroom", "bench", "blanket", "blender",
    "boy", "bridge", "bulldozer", "cabbage", "carpet", "ceiling", "celery", "chimney", "curtain",
    "cushion", "desk", "dragonfly", "driver", "drone", "eel", "elevator", "escalator", "farmer",
    "fence", "fig", "floor", "flute", "forest", "forklift", "fridge", "garage",
    "garlic", "girl", "grass", "harmonica", "harp", "hexagon", "hill", "hyena", "iron", "lake",
    "lobster", "man", "microwave", "needle", "octagon", "ostrich", "oven", "papaya",
    "pelican", "person", "pillow", "plum", "player", "pomegranate", "pyramid", "radish",
    "raspberry", "river", "road", "roof", "rope", "runway", "sand", "seaweed", "shelf",
    "sidewalk", "skirt", "sky", "snowmobile", "soldier", "spatula", "spinach", "stapler", "street",
    "submarine", "sweater", "swimmer", "table", "teacher", "towel", "tunnel", "vacuum cleaner",
    "vase", "waiter", "wall", "walrus", "whisk", "wire", "wombat", "woman", "zucchini",
)  # fmt: skip
ABSENT_CHINESE: tuple[str, ...] = (
    "桌子", "男孩", "女孩", "男人", "女人", "人", "桥", "河流", "道路", "天空", "草地", "墙",
    "地板", "箭头", "窗帘", "枕头", "镜子", "花瓶", "裙子", "六边形", "沙子", "司机", "老师",
    "毛巾", "冰箱", "衣架", "围栏", "龙虾", "鸵鸟", "海象", "蜻蜓", "石榴", "李子", "木瓜",
    "大蒜", "白菜", "菠菜", "潜水艇", "推土机", "手风琴", "竖琴", "口琴", "微波炉", "烤箱",
    "吸尘器", "电梯", "订书机", "绳子",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Concept:
    """A meaning: some kinds, a colour, both, or neither (everything that is an object).

    Attributes:
        kinds: numbers of kinds, or None for any.
        color: number of a colour, or None for any. Only shapes have a colour by name.
        names: its nouns in English, the plain one first; empty for a colour alone.
        chinese: its nouns in Chinese.
    """

    kinds: frozenset[int] | None
    color: int | None
    names: tuple[str, ...]
    chinese: tuple[str, ...]

    def matches(self, kind: int, color: int) -> bool:
        """Whether an object of this kind and colour, -1 for those without, belongs to it."""
        return (self.kinds is None or kind in self.kinds) and self.color in (None, color)


def shape_concept(color: int | None, shape: int) -> Concept:
    """A shape, of a colour or of any."""
    return Concept(frozenset({shape}), color, (SHAPES[shape],), (CHINESE_SHAPES[shape],))


def color_concept(color: int) -> Concept:
    """All shapes of a colour."""
    return Concept(None, color, (), ())


EVERYTHING = Concept(None, None, GENERIC, CHINESE_GENERIC)


def _word_concepts() -> tuple[Concept, ...]:
    """One concept for every set of kinds that some words stand for."""
    bearers: dict[str, set[int]] = {}
    for kind in KINDS:
        for word in (kind.name, kind.chinese, *kind.synonyms):
            bearers.setdefault(word, set()).add(kind.number)
    words_of: dict[frozenset[int], list[str]] = {}
    for word, kinds in bearers.items():
        words_of.setdefault(frozenset(kinds), []).append(word)
    return tuple(
        Concept(
            kinds,
            None,
            tuple(word for word in words if not is_chinese(word)),
            tuple(word for word in words if is_chinese(word)),
        )
        for kinds, words in words_of.items()
    )


#: What the names and synonyms of kinds mean, shapes included.
WORD_CONCEPTS: tuple[Concept, ...] = _word_concepts()
_BY_WORD = {word: concept for concept in WORD_CONCEPTS for word in concept.names + concept.chinese}


def concept_named(word: str) -> Concept:
    """What a name or synonym means.

    Raises:
        KeyError: no kind bears the word.
    """
    return _BY_WORD[word]


@cache
def concepts_of(kind: int) -> tuple[Concept, ...]:
    """What a kind's words mean, its own name's first; one or more kinds bear each of them."""
    words = (KINDS[kind].name, KINDS[kind].chinese, *KINDS[kind].synonyms)
    return tuple(dict.fromkeys(_BY_WORD[word] for word in words))


@cache
def similar_kinds(kind: int) -> tuple[int, ...]:
    """Kinds that may be taken for a kind: those of its group, or its neighbours in the list."""
    group = KINDS[kind].group
    near = [
        other.number
        for other in KINDS
        if other.group == group and other.number != kind and (abs(other.number - kind) <= 8)
    ]
    return tuple(near)


def english(concept: Concept) -> list[str]:
    """English phrases for a concept, the plain one first."""
    if concept.color is not None and not concept.names:
        color = COLORS[concept.color]
        return [color, f"{color} shape", f"{color} shapes", f"all {color} shapes"]
    prefix = "" if concept.color is None else f"{COLORS[concept.color]} "
    phrases = []
    for name in concept.names:
        noun, nouns = prefix + name, prefix + plural(name)
        phrases += [noun, f"the {noun}", f"all {nouns}"]
        if noun != nouns:
            phrases.append(article(noun))
        # "headphones" may be more than "headphone": plurals must mean the same.
        if _BY_WORD.get(nouns, concept).kinds == concept.kinds:
            phrases.append(nouns)
    return list(dict.fromkeys(phrases))


def chinese(concept: Concept) -> list[str]:
    """Chinese phrases for a concept, the plain one first; none where there is no Chinese word."""
    if concept.color is not None and not concept.chinese:
        color = CHINESE_COLORS[concept.color]
        return [color, f"{color}的", f"{color}形状"]
    if concept.color is not None:
        color = CHINESE_COLORS[concept.color]
        return [f"{color}{joint}{name}" for name in concept.chinese for joint in ("", "的")]
    return [f"{start}{name}" for name in concept.chinese for start in ("", "所有")]


@cache
def _phrases(concept: Concept) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(english(concept)), tuple(chinese(concept))


def phrasings(concept: Concept) -> list[str]:
    """All ways in which a concept is worded; the first is the plain one."""
    return [*_phrases(concept)[0], *_phrases(concept)[1]]


def draw_wording(
    rng: np.random.Generator, concept: Concept, chinese_share: float = 1 / 3, plain: float = 0.6
) -> str:
    """One way to word a concept; with the probability ``plain`` one that is a mere noun."""
    in_english, in_chinese = _phrases(concept)
    phrases = in_english
    if in_chinese and (not in_english or rng.random() < chinese_share):
        phrases = in_chinese
    if rng.random() < plain:
        return phrases[0]
    return phrases[int(rng.integers(0, len(phrases)))]


@cache
def all_concepts(*, held_out: bool) -> tuple[Concept, ...]:
    """Every concept, without the held-out pairs unless ``held_out``."""
    pairs = ALL_PAIRS if held_out else TRAIN_PAIRS
    return (
        *WORD_CONCEPTS,
        *(shape_concept(color, shape) for color, shape in pairs),
        *(color_concept(color) for color in range(len(COLORS))),
        EVERYTHING,
    )


def corpus() -> list[str]:
    """The phrases the tokenizer is fitted on."""
    phrases = [VISUAL]
    for concept in all_concepts(held_out=True):
        phrases += phrasings(concept)
        # Plain names count more than their wordings.
        phrases += concept.names * 3 + concept.chinese * 3
    phrases += ABSENT_NOUNS * 2 + ABSENT_CHINESE * 2
    phrases += [f"{color} {noun}" for color in ABSENT_COLORS for noun in GENERIC]
    return phrases
