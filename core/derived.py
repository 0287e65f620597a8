"""A cache for values that depend on a model's parameters alone, and not on the frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    stamp: list[tuple[int, int]]
    sources: list[Tensor]
    value: T


class Derived(Generic[T]):
    """A cached value, computed again when one of its source tensors has changed.

    A tensor changes when it is written to in place (an optimiser step, a loaded checkpoint), or
    when it gets new storage (a move to another device or dtype). Nothing is cached while gradients
    are enabled, or if a source is an inference tensor: torch does not count changes of these.

    Any thread may call ``of``. A copy of a module starts with an empty cache.
    """

    def __init__(self) -> None:
        self._kept: _Kept[T] | None = None

    def of(self, sources: Sequence[Tensor], compute: Callable[[], T]) -> T:
        """Returns the value, from the cache if no source has changed.

        Args:
            sources: all tensors that ``compute`` reads.
            compute: computes the value. It runs without gradients if the value is cached.
        """
        if torch.is_grad_enabled() or any(source.is_inference() for source in sources):
            return compute()
        stamp = [(source.data_ptr(), source._version) for source in sources]
        kept = self._kept
        if kept is None or kept.stamp != stamp:
            # An inference tensor has no version, so it could not be a source of another value.
            with torch.inference_mode(False), torch.no_grad():
                value = compute()
            # Holding the storage keeps its address from being given to another tensor.
            kept = _Kept(stamp, [source.detach() for source in sources], value)
            self._kept = kept
        return kept.value

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)()

    def __reduce__(self) -> tuple[type[Derived[T]], tuple[()]]:
        return type(self), ()
