"""Prompts as they are typed on the command line."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from maskstream.core.errors import PromptError
from maskstream.pipeline.api.prompts import (
    Box,
    ConceptPrompt,
    ObjectPrompt,
    Point,
    box_faults,
    label_faults,
    normalised_boxes,
    normalised_points,
    point_faults,
    text_faults,
)


@dataclass(frozen=True, slots=True)
class TimedPrompt:
    """A prompt and when it is given.

    Attributes:
        typed: the option as it was typed, for messages.
        frame_index: the frame that it is shown on; None is the first frame of the run.
        prompt: in normalised coordinates.
    """

    typed: str
    frame_index: int | None
    prompt: ConceptPrompt | ObjectPrompt

    @property
    def needs_frame(self) -> bool:
        """Words alone need none."""
        return isinstance(self.prompt, ObjectPrompt) or bool(self.prompt.boxes)


def parse_prompts(options: Namespace, width: int, height: int) -> list[TimedPrompt]:
    """Check the prompt options against frames of ``width`` × ``height`` pixels.

    Args:
        options: with the lists ``text``, ``exemplar``, ``point``, ``box`` and ``mask``, and
            ``pixels``.
        width: of the frames.
        height: likewise.

    Raises:
        PromptError: nothing was asked for, or something that cannot be used; all faults are named.
    """
    size = (float(width), float(height)) if options.pixels else (1.0, 1.0)
    prompts: list[TimedPrompt] = []
    faults: list[str] = []
    for name, values, parse in (
        ("text", options.text, _parse_text),
        ("exemplar", options.exemplar, _parse_exemplar),
        ("point", options.point, _parse_points),
        ("box", options.box, _parse_box),
    ):
        for value in values:
            try:
                prompts.append(replace(parse(value, size), typed=f"--{name} {value}"))
            except PromptError as error:
                faults.append(f"--{name} {value}: {error}")
    for value in options.mask:
        try:
            prompts.append(_parse_mask(value, width, height))
        except PromptError as error:
            faults.append(f"--mask {value}: {error}")
    if faults:
        hint = "" if options.pixels or not _mentions_range(faults) else " (--pixels takes pixels)"
        raise PromptError("; ".join(faults) + hint)
    if not prompts:
        raise PromptError("nothing to look for: give --text, --exemplar, --point, --box or --mask")
    return _joined(prompts)


def _joined(prompts: list[TimedPrompt]) -> list[TimedPrompt]:
    """One text and one exemplar option describe one concept together."""
    concepts = [item for item in prompts if isinstance(item.prompt, ConceptPrompt)]
    texts = [item for item in concepts if not item.needs_frame]
    shown = [item for item in concepts if item.needs_frame]
    if len(texts) != 1 or len(shown) != 1:
        return prompts
    words, boxes = texts[0].prompt, shown[0].prompt
    if not isinstance(words, ConceptPrompt) or not isinstance(boxes, ConceptPrompt):
        return prompts
    both = TimedPrompt(
        f"{texts[0].typed} {shown[0].typed}",
        shown[0].frame_index,
        replace(boxes, text=words.text),
    )
    return [both, *(item for item in prompts if item not in (texts[0], shown[0]))]


def _parse_text(value: str, size: tuple[float, float]) -> TimedPrompt:
    _refuse(text_faults(value))
    return TimedPrompt("", None, ConceptPrompt(text=value))


def _parse_exemplar(value: str, size: tuple[float, float]) -> TimedPrompt:
    rows, frame_index = _numbers(value, (4, 5), "x,y,w,h[,label]")
    boxes: list[Box] = [(row[0], row[1], row[2], row[3]) for row in rows]
    labels = _labels(rows, 4)
    _refuse(box_faults(boxes, *size, name="box") + label_faults(labels, len(rows), "labels", ""))
    prompt = ConceptPrompt(None, normalised_boxes(boxes, *size), tuple(labels))
    return TimedPrompt("", frame_index, prompt)


def _parse_points(value: str, size: tuple[float, float]) -> TimedPrompt:
    rows, frame_index = _numbers(value, (2, 3), "x,y[,label]")
    points: list[Point] = [(row[0], row[1]) for row in rows]
    labels = _labels(rows, 2)
    _refuse(
        point_faults(points, *size, name="point") + label_faults(labels, len(rows), "labels", "")
    )
    prompt = ObjectPrompt(points=normalised_points(points, *size), point_labels=tuple(labels))
    return TimedPrompt("", frame_index, prompt)


def _parse_box(value: str, size: tuple[float, float]) -> TimedPrompt:
    rows, frame_index = _numbers(value, (4,), "x,y,w,h")
    if len(rows) != 1:
        raise PromptError("one box shows one object; repeat the option for another")
    boxes: list[Box] = [(row[0], row[1], row[2], row[3]) for row in rows]
    _refuse(box_faults(boxes, *size, name="box"))
    return TimedPrompt("", frame_index, ObjectPrompt(box=normalised_boxes(boxes, *size)[0]))


def _parse_mask(value: str, width: int, height: int) -> TimedPrompt:
    # A file name may hold an @ of its own.
    match = re.fullmatch(r"(.+)@(\d+)", value)
    named = match is not None and not Path(value).exists()
    path, frame_index = (match[1], int(match[2])) if match and named else (value, None)
    mask = _load_mask(Path(path))
    if mask.shape != (height, width):
        raise PromptError(
            f"the mask is {mask.shape[1]}×{mask.shape[0]} pixels; it must be {width}×{height} "
            "like the frames"
        )
    if not mask.any():
        raise PromptError("the mask is empty: no pixel differs from 0")
    return TimedPrompt(f"--mask {value}", frame_index, ObjectPrompt(mask=mask))


def _load_mask(path: Path) -> NDArray[np.bool_]:
    """Every pixel that is not 0 is inside, of a palette picture every index that is not 0."""
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture if picture.mode != "RGBA" else picture.convert("RGB"))
    except FileNotFoundError as error:
        raise PromptError("there is no such file") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise PromptError(f"the mask cannot be read as a picture: {error}") from error
    inside: NDArray[np.bool_] = np.not_equal(pixels, 0)
    return inside if inside.ndim == 2 else np.logical_or.reduce(inside, axis=2)


def _numbers(
    value: str, lengths: tuple[int, ...], form: str
) -> tuple[list[list[float]], int | None]:
    """``1,2;3,4@7`` → [[1, 2], [3, 4]], 7."""
    body, at, frame = value.partition("@")
    if at and not frame.isdecimal():
        raise PromptError(f"after @ comes a frame number, 0 or more, not {frame!r}")
    rows = []
    for part in body.split(";"):
        try:
            row = [float(number) for number in part.split(",")]
        except ValueError:
            raise PromptError(f"expected {form}[@frame]") from None
        if len(row) not in lengths:
            raise PromptError(f"expected {form}[@frame], but there are {len(row)} numbers")
        rows.append(row)
    return rows, int(frame) if at else None


def _labels(rows: list[list[float]], place: int) -> list[int]:
    """The label behind the coordinates, 1 where it is left out; -1 stands for a fraction."""
    labels = [row[place] if len(row) > place else 1.0 for row in rows]
    return [int(label) if label in (0.0, 1.0) else -1 for label in labels]


def _refuse(faults: Sequence[str]) -> None:
    if faults:
        raise PromptError("; ".join(faults))


def _mentions_range(faults: list[str]) -> bool:
    return any("normalised" in fault for fault in faults)
