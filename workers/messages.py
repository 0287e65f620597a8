"""What actors send each other: plain data and numpy arrays, which Ray shares without copying."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskstream.core.types import Detections, TrackerFeatures
from maskstream.detector.frames import Concept, DetectedFrame, DetectionRules
from maskstream.detector.prompts import Exemplar

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Packed:
    """A tensor on its way: its bits, its type (numpy has no bfloat16), and its layout in memory,
    on which the last bit of what is computed from it depends.
    """

    array: NDArray[Any]
    dtype: str
    channels_last: bool = False


def pack(tensor: Tensor) -> Packed:
    """A tensor as numpy, without a copy where it is on the CPU already."""
    name = str(tensor.dtype).removeprefix("torch.")
    host = tensor.detach().cpu()
    last = host.ndim == 4 and host.is_contiguous(memory_format=torch.channels_last)
    host = host.permute(0, 2, 3, 1) if last else host.contiguous()
    bits = host.view(torch.int16) if name == "bfloat16" else host
    return Packed(bits.numpy(), name, last)


def unpack(packed: Packed, device: torch.device) -> Tensor:
    """Undo ``pack``. On the CPU the tensor shares the array's memory and must not be written."""
    array = packed.array
    if array.flags.writeable or array.size == 0:
        tensor = torch.from_numpy(array)
    else:
        # What Ray shares is read-only, which torch has no word for.
        tensor = torch.frombuffer(_unlocked(array), dtype=_TYPES[array.dtype.name])
        tensor = tensor.view(array.shape)
    if packed.dtype == "bfloat16":
        tensor = tensor.view(torch.bfloat16)
    if packed.channels_last:
        tensor = tensor.permute(0, 3, 1, 2)
    return tensor.to(device)


_TYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "int64": torch.int64,
    "int16": torch.int16,
}


def _unlocked(array: NDArray[Any]) -> NDArray[Any]:
    """The same memory as a buffer that torch takes without a warning."""
    interface = dict(array.__array_interface__)
    interface["data"] = (interface["data"][0], False)
    return np.asarray(_Borrowed(interface, array)).reshape(-1)


class _Borrowed:
    """Shows memory that another array owns, and keeps that array."""

    def __init__(self, interface: Mapping[str, Any], owner: NDArray[Any]) -> None:
        self.__array_interface__ = interface
        self._owner = owner


@dataclass(frozen=True, slots=True)
class ConceptData:
    """A concept; see :class:`maskstream.detector.frames.Concept`."""

    prompt_id: int
    text: str | None
    exemplars: Packed | None


@dataclass(frozen=True, slots=True)
class ConceptList:
    """All concepts of a session.

    Attributes:
        key: the same for the same list, of whatever session; another for any other.
    """

    key: str
    concepts: tuple[ConceptData, ...]


def concept_list(key: str, concepts: list[Concept]) -> ConceptList:
    """Concepts to be sent."""
    return ConceptList(
        key,
        tuple(
            ConceptData(c.prompt_id, c.text, None if c.exemplars is None else pack(c.exemplars))
            for c in concepts
        ),
    )


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """What to do with a frame.

    Attributes:
        session_id: workers serve sessions by turns.
        concepts: to be found in it.
        rules: which detections count.
        shown: an exemplar on this frame that is to be encoded.
    """

    session_id: str
    concepts: ConceptList
    rules: DetectionRules
    shown: Exemplar | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error that the input is to blame for, as ``maskstream.core.error_text`` writes it."""

    text: str


@dataclass(frozen=True, slots=True)
class PackedAnswer:
    """A ``DetectedFrame`` on its way through the object store."""

    levels: tuple[Packed, ...]
    detections: tuple[Packed, ...]
    exemplar: Packed | None

    @classmethod
    def of(cls, answer: DetectedFrame) -> PackedAnswer:
        found = answer.detections
        return cls(
            levels=tuple(pack(level) for level in answer.features.levels),
            detections=tuple(
                pack(part) for part in (found.prompt_ids, found.scores, found.boxes, found.masks)
            ),
            exemplar=None if answer.exemplar is None else pack(answer.exemplar),
        )

    def unpack(self, device: torch.device) -> DetectedFrame:
        fine, middle, coarse = (unpack(level, device) for level in self.levels)
        prompt_ids, scores, boxes, masks = (unpack(part, device) for part in self.detections)
        return DetectedFrame(
            TrackerFeatures((fine, middle, coarse)),
            Detections(prompt_ids, scores, boxes, masks),
            None if self.exemplar is None else unpack(self.exemplar, device),
        )
