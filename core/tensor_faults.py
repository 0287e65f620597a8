"""What is wrong with a set of named tensors, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from maskstream.core.errors import CheckpointError

MAX_NAMES = 40
"""Names listed for each kind of fault; a checkpoint of another model would fill pages."""

Shape = tuple[int, ...]


def check_tensors(
    expected: Mapping[str, Shape],
    found: Mapping[str, Shape],
    *,
    context: str,
    optional: Iterable[str] = (),
) -> tuple[str, ...]:
    """Compare names and shapes, and complain of all faults at once.

    Args:
        expected: shape by name, what the model holds.
        found: shape by name, what the checkpoint holds.
        context: what is being loaded, for the message.
        optional: names that may be missing; an entry stands for itself and all below it
            ("a.b" for "a.b", "a.b.weight", ...).

    Returns:
        The optional names that ``found`` lacks.

    Raises:
        CheckpointError: names every tensor that is missing, unknown or misshapen, the last with
            both shapes.
    """
    allowed = tuple(optional)
    absent = [name for name in expected if name not in found]
    missing = [name for name in absent if not _is_below(name, allowed)]
    extra = [name for name in found if name not in expected]
    misshapen = [
        f"{name} is {show_shape(found[name])} where the model has {show_shape(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    kinds = (("missing", missing), ("not in the model", extra), ("of the wrong shape", misshapen))
    faults = [_sentence(kind, names) for kind, names in kinds if names]
    if faults:
        raise CheckpointError(f"{context}: the tensors do not fit the model; " + "; ".join(faults))
    return tuple(name for name in absent if _is_below(name, allowed))


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Shape by name."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def show_shape(shape: Shape) -> str:
    """(256, 64) as 256×64; a scalar as 'scalar'."""
    return "×".join(map(str, shape)) or "scalar"


def _is_below(name: str, roots: Sequence[str]) -> bool:
    return any(name == root or name.startswith(root + ".") for root in roots)


def _sentence(kind: str, names: Sequence[str]) -> str:
    listed = ", ".join(names[:MAX_NAMES])
    rest = len(names) - MAX_NAMES
    return f"{len(names)} {kind}: {listed}" + (f" and {rest} more" if rest > 0 else "")
