"""Finding a checkpoint: the embedded one, a path, or a name on the Hugging Face hub."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from maskstream.core.checkpoint_folder import CONFIG_FILE
from maskstream.core.errors import CheckpointError
from maskstream.core.official import is_official_file

EMBEDDED = ("tiny",)
"""Checkpoints that come with the package, in ``configs/checkpoints``."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def resolve_checkpoint(
    name_or_path: str | Path, revision: str | None = None, token: str | None = None
) -> Path:
    """Where a checkpoint is on this machine, downloading it if it must be.

    Args:
        name_or_path: "tiny" (embedded), a folder in the folder layout, a file in the layout of
            the official ``sam3.pt`` (``.pt``, ``.pth``), or a hub name such as ``facebook/sam3``.
        revision: branch, tag or commit on the hub; of no use for the other kinds.
        token: for gated models; by default what ``hf auth login`` or ``HF_TOKEN`` provide.

    Returns:
        A folder that holds ``config.json``, or an official file.

    Raises:
        CheckpointError: there is no such thing, or the hub refuses it or cannot be reached.
    """
    name = str(name_or_path)
    if name in EMBEDDED:
        return _checked(Path(str(files("maskstream.configs").joinpath("checkpoints", name))))
    path = Path(name).expanduser()
    if path.exists():
        return _checked(path)
    is_path = isinstance(name_or_path, Path) or path.suffix in {".pt", ".pth"}
    if is_path or not _HUB_NAME.fullmatch(name):
        raise CheckpointError(
            f"no checkpoint {name!r}: give {_or(EMBEDDED)}, a folder, a .pt file, "
            "or a hub name such as facebook/sam3"
        )
    # Imports 130 modules, which no other checkpoint needs.
    from maskstream.core.checkpoint_hub import download

    return _checked(download(name, revision, token))


def _checked(path: Path) -> Path:
    if is_official_file(path):
        return path
    if path.is_file():
        raise CheckpointError(
            f"{path} is neither a checkpoint folder nor a .pt file; "
            "give the folder that holds config.json"
        )
    if not (path / CONFIG_FILE).is_file():
        raise CheckpointError(f"{path} has no {CONFIG_FILE}: it is no checkpoint folder")
    return path


def _or(names: tuple[str, ...]) -> str:
    return " or ".join(repr(name) for name in names)
