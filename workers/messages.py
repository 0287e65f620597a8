"""Messages between actors: plain data and numpy arrays, which Ray shares without copying."""

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
    """A tensor in a message.

    The memory layout is kept because the last bit of later results depends on it.

    Attributes:
        array: the values; bfloat16, which numpy lacks, as int16 bits.
        dtype: torch's name of the tensor's dtype.
        channels_last: whether the tensor was (N, C, H, W) in channels-last layout. ``array`` is
            then (N, H, W, C).
    """

    array: NDArray[Any]
    dtype: str
    channels_last: bool = False


def pack(tensor: Tensor) -> Packed:
    """Pack a tensor; without a copy if it is on the CPU and contiguous or channels-last."""
    name = str(tensor.dtype).removeprefix("torch.")
    host = tensor.detach().cpu()
    last = host.ndim == 4 and host.is_contiguous(memory_format=torch.channels_last)
    host = host.permute(0, 2, 3, 1) if last else host.contiguous()
    bits = host.view(torch.int16) if name == "bfloat16" else host
    return Packed(bits.numpy(), name, last)


def unpack(packed: Packed, device: torch.device) -> Tensor:
    """Undo ``pack``. On the CPU the tensor shares the array's memory and must not be written to."""
    array = packed.array
    if array.flags.writeable or array.size == 0:
        tensor = torch.from_numpy(array)
    else:
        # Arrays that Ray shares are read-only, and torch has no read-only tensors.
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
    """The same memory, marked as writable, so that torch takes it without a warning."""
    interface = dict(array.__array_interface__)
    interface["data"] = (interface["data"][0], False)
    return np.asarray(_Borrowed(interface, array)).reshape(-1)


class _Borrowed:
    """Exposes the memory of another array and keeps that array alive."""

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
        key: made from the content, so that different lists have different keys.
        concepts: oldest first.
    """

    key: str
    concepts: tuple[ConceptData, ...]


def concept_list(key: str, concepts: list[Concept]) -> ConceptList:
    """Pack concepts for a request."""
    return ConceptList(
        key,
        tuple(
            ConceptData(c.prompt_id, c.text, None if c.exemplars is None else pack(c.exemplars))
            for c in concepts
        ),
    )


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """What to detect in a frame.

    Attributes:
        session_id: the lane of the batcher; sessions take turns.
        concepts: what to find in the frame.
        rules: which detections count.
        shown: an exemplar on this frame to encode, or None.
    """

    session_id: str
    concepts: ConceptList
    rules: DetectionRules
    shown: Exemplar | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error caused by the input, in the form of ``maskstream.core.error_text``."""

    text: str


@dataclass(frozen=True, slots=True)
class PackedAnswer:
    """A ``DetectedFrame`` in a message."""

    levels: tuple[Packed, ...]
    interactive: tuple[Packed, ...] | None
    detections: tuple[Packed, ...]
    exemplar: Packed | None

    @classmethod
    def of(cls, answer: DetectedFrame) -> PackedAnswer:
        found = answer.detections
        return cls(
            levels=tuple(pack(level) for level in answer.features.levels),
            interactive=(
                None
                if answer.features.interactive is None
                else tuple(pack(level) for level in answer.features.interactive)
            ),
            detections=tuple(
                pack(part) for part in (found.prompt_ids, found.scores, found.boxes, found.masks)
            ),
            exemplar=None if answer.exemplar is None else pack(answer.exemplar),
        )

    def unpack(self, device: torch.device) -> DetectedFrame:
        interactive = None if self.interactive is None else _levels(self.interactive, device)
        prompt_ids, scores, boxes, masks = (unpack(part, device) for part in self.detections)
        return DetectedFrame(
            TrackerFeatures(_levels(self.levels, device), interactive),
            Detections(prompt_ids, scores, boxes, masks),
            None if self.exemplar is None else unpack(self.exemplar, device),
        )


def _levels(packed: tuple[Packed, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    fine, middle, coarse = (unpack(level, device) for level in packed)
    return fine, middle, coarse
