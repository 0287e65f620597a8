"""Tensors on their way: the same bits, type and layout at the other end."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from maskstream.core.types import Detections, TrackerFeatures
from maskstream.detector.frames import DetectedFrame
from maskstream.workers.messages import PackedAnswer, pack, unpack

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
@pytest.mark.parametrize("locked", [False, True], ids=["own memory", "shared by Ray"])
def test_a_tensor_comes_back(dtype: torch.dtype, locked: bool) -> None:
    tensor = (torch.arange(24).view(1, 2, 3, 4) - 7).to(dtype)
    packed = pack(tensor)
    if locked:
        packed.array.flags.writeable = False
    back = unpack(packed, CPU)
    assert back.dtype == dtype
    assert torch.equal(back, tensor)
    assert back.data_ptr() == packed.array.ctypes.data  # shared, not copied


def test_the_layout_stays() -> None:
    tensor = torch.rand(1, 8, 5, 6).to(memory_format=torch.channels_last)
    back = unpack(pack(tensor), CPU)
    assert back.stride() == tensor.stride()
    assert torch.equal(back, tensor)
    assert unpack(pack(tensor.contiguous()), CPU).is_contiguous()


def test_memory_is_held_as_long_as_it_is_used() -> None:
    array = np.arange(5, dtype=np.float32)
    packed = pack(torch.from_numpy(array))
    packed.array.flags.writeable = False
    back = unpack(packed, CPU)
    del packed, array
    assert back.tolist() == [0, 1, 2, 3, 4]


def test_an_answer_comes_back_even_when_empty() -> None:
    levels = tuple(torch.rand(1, 4, size, size) for size in (8, 4, 2))
    features = TrackerFeatures((levels[0], levels[1], levels[2]))
    answer = DetectedFrame(features, Detections.empty((8, 8)), torch.rand(3, 4))
    back = PackedAnswer.of(answer).unpack(CPU)
    assert len(back.detections) == 0
    assert back.detections.masks.shape == (0, 8, 8)
    assert torch.equal(back.features.levels[1], levels[1])
    assert back.exemplar is not None
    assert answer.exemplar is not None
    assert torch.equal(back.exemplar, answer.exemplar)
