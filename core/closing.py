"""The base class of objects that are closed at the end of a ``with`` statement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closing(ABC):
    """Base of classes that hold files, threads or connections until they are closed."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Release everything. Closing twice is fine."""

    def __enter__(self) -> Self:
        """Returns the object itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the object, also after an error."""
        self.close()
