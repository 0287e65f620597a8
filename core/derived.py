"""What is computed from a model's parameters alone, and so not anew for every frame."""

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
    """A value that is kept until one of the tensors that it was computed from changes.

    A tensor changes when it is written to in place, by an optimiser or a checkpoint that is loaded,
    or when it gets other storage, by a move to another device or dtype. Where gradients are wanted,
    and from tensors whose changes torch doesn't count, nothing is kept.

    Any thread may ask. Copies of a module start with nothing kept.
    """

    def __init__(self) -> None:
        self._kept: _Kept[T] | None = None

    def of(self, sources: Sequence[Tensor], compute: Callable[[], T]) -> T:
        """The value.

        Args:
            sources: all that ``compute`` depends on.
            compute: computes it, without gradients where it is kept.
        """
        if torch.is_grad_enabled() or any(source.is_inference() for source in sources):
            return compute()
        stamp = [(source.data_ptr(), source._version) for source in sources]
        kept = self._kept
        if kept is None or kept.stamp != stamp:
            # What inference mode makes has no versions, and could not be a source itself.
            with torch.inference_mode(False), torch.no_grad():
                value = compute()
            # Storage that is held on to is not given to another tensor.
            kept = _Kept(stamp, [source.detach() for source in sources], value)
            self._kept = kept
        return kept.value

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)()

    def __reduce__(self) -> tuple[type[Derived[T]], tuple[()]]:
        return type(self), ()
