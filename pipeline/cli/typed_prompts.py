"""The prompt options of the command line, and the commands that are made from them."""

from __future__ import annotations

import os
import re
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskstream.core.errors import PromptError, SourceError
from maskstream.core.rle import encode_mask
from maskstream.pipeline.api.commands import AddConcept, AddObject
from maskstream.pipeline.api.prompts import (
    UNIT,
    Box,
    Point,
    Size,
    box_faults,
    label_faults,
    point_faults,
    text_faults,
)
from maskstream.pipeline.sources.mask_pictures import load_mask

_Parser = Callable[[str, Size], AddConcept | AddObject]

# Ten years of video at 1000 frames a second have fewer.
_MAX_DIGITS = 12


@dataclass(frozen=True, slots=True)
class TypedPrompt:
    """A prompt, and the option as it was typed.

    Attributes:
        typed: the option, for messages.
        command: the prompt in normalised coordinates. Its ``frame_index`` is the typed @FRAME; None
            stands for the first frame of the run.
    """

    typed: str
    command: AddConcept | AddObject

    @property
    def needs_frame(self) -> bool:
        """Whether the prompt is drawn on a frame; words alone are not."""
        return isinstance(self.command, AddObject) or bool(self.command.boxes)


class _InOrder(Action):
    """Adds (name of the option, value) to ``prompts``, so that the order of all options is kept."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        name = self.option_strings[0].removeprefix("--")
        namespace.prompts = [*namespace.prompts, (name, values)]


def add_prompt_options(parser: ArgumentParser) -> None:
    """Define the options that ``parse_prompts`` reads."""
    group = parser.add_argument_group("prompts", "each may be given several times")

    def add(name: str, metavar: str, text: str) -> None:
        group.add_argument(
            name, action=_InOrder, dest="prompts", default=(), metavar=metavar, help=text
        )

    add("--text", "WORDS", "a concept to find")
    add(
        "--exemplar",
        "X,Y,W,H[,LABEL][;…][@FRAME]",
        "boxes around examples of a concept, with label 0 around counter-examples; together with "
        "exactly one --text they describe that concept",
    )
    add(
        "--point",
        "X,Y[,LABEL][;…][@FRAME]",
        "one object, by points on it (label 1) and beside it (label 0)",
    )
    add("--box", "X,Y,W,H[@FRAME]", "one object, by a box")
    add(
        "--mask",
        "FILE[@FRAME]",
        "one object, by a picture of the frame's size that is 0 or transparent outside the object",
    )
    add("--label", "NAME", "what to call the new object of the --point, --box or --mask before it")
    group.add_argument("--pixels", action="store_true", help="coordinates are pixels")


def needs_frame_size(options: Namespace) -> bool:
    """Whether the prompts can only be checked when the size of the frames is known."""
    return options.pixels or any(name == "mask" for name, _ in options.prompts)


def parse_prompts(options: Namespace, width: int, height: int) -> list[TypedPrompt]:
    """Check the prompt options against frames of ``width`` × ``height`` pixels.

    Args:
        options: has the list ``prompts`` of names and values, and the flag ``pixels``.
        width: width of the frames in pixels.
        height: their height in pixels.

    Returns:
        The prompts in the order of the options.

    Raises:
        PromptError: no prompt was typed, or one that cannot be used; all faults are named.
    """
    size = (float(width), float(height)) if options.pixels else UNIT
    prompts: list[TypedPrompt] = []
    faults: list[str] = []
    parsers: dict[str, _Parser] = {
        "text": _parse_text,
        "exemplar": _parse_exemplar,
        "point": _parse_points,
        "box": _parse_box,
        "mask": lambda value, _: _parse_mask(value, width, height),
    }
    for name, value in options.prompts:
        try:
            if name == "label":
                prompts[-1:] = [_labelled(prompts[-1:], value)]
            else:
                command = parsers[name](value, size).at(width, height)
                prompts.append(TypedPrompt(f"--{name} {value}", command))
        except PromptError as error:
            faults.append(f"--{name} {value}: {error}")
    if faults:
        hint = "" if options.pixels or not _mentions_range(faults) else " (--pixels takes pixels)"
        raise PromptError("; ".join(faults) + hint)
    if not prompts:
        raise PromptError("nothing to look for: give --text, --exemplar, --point, --box or --mask")
    return _joined(prompts)


def _labelled(before: list[TypedPrompt], label: str) -> TypedPrompt:
    """The prompt before a --label, with that label."""
    if not before or not isinstance(before[0].command, AddObject):
        raise PromptError("it names the object of the --point, --box or --mask before it")
    if before[0].command.label is not None:
        raise PromptError("the object before it has a label already")
    _refuse(text_faults(label))
    command = before[0].command.model_copy(update={"label": label})
    return TypedPrompt(before[0].typed, command)


def _joined(prompts: list[TypedPrompt]) -> list[TypedPrompt]:
    """Exactly one --text and exactly one --exemplar are one prompt."""
    concepts = [(item, item.command) for item in prompts if isinstance(item.command, AddConcept)]
    texts = [pair for pair in concepts if not pair[0].needs_frame]
    shown = [pair for pair in concepts if pair[0].needs_frame]
    if len(texts) != 1 or len(shown) != 1:
        return prompts
    (words, named), (examples, boxed) = texts[0], shown[0]
    both = TypedPrompt(
        f"{words.typed} {examples.typed}", boxed.model_copy(update={"text": named.text})
    )
    first = concepts[0][0]
    return [
        both if item is first else item
        for item in prompts
        if item is first or item not in (words, examples)
    ]


def _parse_text(value: str, size: Size) -> AddConcept:
    _refuse(text_faults(value))
    return AddConcept(text=value)


def _parse_exemplar(value: str, size: Size) -> AddConcept:
    rows, frame_index = _numbers(value, (4, 5), "x,y,w,h[,label]")
    boxes: list[Box] = [(row[0], row[1], row[2], row[3]) for row in rows]
    labels = _labels(rows, 4)
    _refuse(box_faults(boxes, *size, name="box") + label_faults(labels, len(rows), "labels", ""))
    return AddConcept(
        boxes=boxes, box_labels=labels, in_pixels=size != UNIT, frame_index=frame_index
    )


def _parse_points(value: str, size: Size) -> AddObject:
    rows, frame_index = _numbers(value, (2, 3), "x,y[,label]")
    points: list[Point] = [(row[0], row[1]) for row in rows]
    labels = _labels(rows, 2)
    _refuse(
        point_faults(points, *size, name="point") + label_faults(labels, len(rows), "labels", "")
    )
    return AddObject(
        points=points, point_labels=labels, in_pixels=size != UNIT, frame_index=frame_index
    )


def _parse_box(value: str, size: Size) -> AddObject:
    rows, frame_index = _numbers(value, (4,), "x,y,w,h")
    if len(rows) != 1:
        raise PromptError("one box shows one object; repeat the option for another")
    x, y, width, height = rows[0]
    box: Box = (x, y, width, height)
    _refuse(box_faults([box], *size, name="box"))
    return AddObject(box=box, in_pixels=size != UNIT, frame_index=frame_index)


def _parse_mask(value: str, width: int, height: int) -> AddObject:
    # The name of a file may contain an @ itself.
    match = re.fullmatch(r"(.+)@(\d+)", value)
    named = match is not None and not os.path.exists(value)
    path, frame_index = (match[1], _frame_index(match[2])) if match and named else (value, None)
    try:
        mask = load_mask(Path(path), width, height)
    except SourceError as error:
        raise PromptError(str(error)) from error
    return AddObject(mask=dict(encode_mask(mask)), frame_index=frame_index)


def _numbers(
    value: str, lengths: tuple[int, ...], form: str
) -> tuple[list[list[float]], int | None]:
    """``1,2;3,4@7`` → [[1, 2], [3, 4]], 7."""
    body, at, frame = value.partition("@")
    frame_index = _frame_index(frame) if at else None
    rows = []
    for part in body.split(";"):
        try:
            row = [float(number) for number in part.split(",")]
        except ValueError:
            raise PromptError(f"expected {form}[@frame]") from None
        if len(row) not in lengths:
            raise PromptError(f"expected {form}[@frame], but there are {len(row)} numbers")
        rows.append(row)
    return rows, frame_index


def _frame_index(value: str) -> int:
    if not value.isdecimal():
        raise PromptError(f"after @ comes a frame number, 0 or more, not {value!r}")
    if len(value) > _MAX_DIGITS:
        raise PromptError(f"after @ comes a frame number of at most {_MAX_DIGITS} digits")
    return int(value)


def _labels(rows: list[list[float]], place: int) -> list[int]:
    """The label after the coordinates; 1 when it is left out, -1 when it is neither 0 nor 1."""
    labels = [row[place] if len(row) > place else 1.0 for row in rows]
    return [int(label) if label in (0.0, 1.0) else -1 for label in labels]


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        raise PromptError("; ".join(faults))


def _mentions_range(faults: list[str]) -> bool:
    return any("normalised" in fault for fault in faults)
