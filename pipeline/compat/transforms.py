"""The preprocessing of SAM 3's batched notebook.

The model prepares pictures itself, so what these say about it is checked, and the pictures stay as
they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from maskstream.core.errors import ConfigError
from maskstream.pipeline.compat.batches import Datapoint

Transform = Callable[[Datapoint], Datapoint]


class ComposeAPI:
    """Several steps one after another."""

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = transforms

    def __call__(self, datapoint: Datapoint) -> Datapoint:
        """Returns the datapoint after all steps."""
        for transform in self.transforms:
            datapoint = transform(datapoint)
        return datapoint


class RandomResizeAPI:
    """Resizes pictures to a square; the model does this, to its own side.

    Args:
        sizes: not used: the side belongs to the weights.
        consistent_transform: not used.
        max_size: not used.
        square: only True is possible.

    Raises:
        ConfigError: pictures are to keep their aspect ratio.
    """

    def __init__(
        self,
        sizes: int | Sequence[int],
        consistent_transform: bool = False,
        max_size: int | None = None,
        square: bool = False,
        v2: bool = False,
    ) -> None:
        if not square:
            raise ConfigError("the model sees squares; use RandomResizeAPI(square=True)")

    def __call__(self, datapoint: Datapoint) -> Datapoint:
        """Returns the datapoint."""
        return datapoint


class ToTensorAPI:
    """Turns pictures into tensors; the model does this."""

    def __init__(self, v2: bool = False) -> None:
        return

    def __call__(self, datapoint: Datapoint) -> Datapoint:
        """Returns the datapoint."""
        return datapoint


class NormalizeAPI:
    """Maps pixels from [0, 1] to [-1, 1]; the model does this.

    Args:
        mean: only 0.5 for each channel is possible.
        std: only 0.5 for each channel is possible.

    Raises:
        ConfigError: other values.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], v2: bool = False) -> None:
        for name, values in (("mean", mean), ("std", std)):
            if any(value != 0.5 for value in values):
                raise ConfigError(f"{name} is {list(values)}; the model takes 0.5 for each channel")

    def __call__(self, datapoint: Datapoint, **unused: Any) -> Datapoint:
        """Returns the datapoint."""
        return datapoint
