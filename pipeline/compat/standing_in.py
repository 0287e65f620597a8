"""Puts modules called ``sam3`` in place, so that a program written for SAM 3 keeps its imports."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from maskstream.core.errors import ConfigError

ROOT = "sam3"

MODULES = {
    "sam3.model_builder": "builders",
    "sam3.model": None,
    "sam3.model.box_ops": "box_ops",
    "sam3.model.data_misc": "batches",
    "sam3.model.sam3_image": "image_model",
    "sam3.model.sam3_image_processor": "processor",
    "sam3.model.sam3_video_predictor": "video_predictor",
    "sam3.model.utils": None,
    "sam3.model.utils.misc": "batches",
    "sam3.eval": None,
    "sam3.eval.postprocessors": "found",
    "sam3.train": None,
    "sam3.train.data": None,
    "sam3.train.data.collator": "batches",
    "sam3.train.data.sam3_image_dataset": "batches",
    "sam3.train.eval": None,
    "sam3.train.eval.postprocessors": "found",
    "sam3.train.transforms": None,
    "sam3.train.transforms.basic_for_api": "transforms",
    "sam3.train.utils": None,
    "sam3.train.utils.train_utils": "batches",
    "sam3.visualization_utils": "drawing",
}
"""By the name of the original's module, the module of this room that stands in for it; None where
it only holds others."""


def stand_in() -> ModuleType:
    """Make ``import sam3`` give this project's modules; returns the module ``sam3``.

    Calling it again changes nothing.

    Raises:
        ConfigError: a package called sam3 is installed or imported; it would be hidden.
    """
    present = sys.modules.get(ROOT)
    if present is not None and getattr(present, "__maskstream__", False):
        return present
    if present is not None or _is_installed():
        raise ConfigError(
            "a package called sam3 is installed, and maskstream does not hide it: uninstall it, or "
            "import from maskstream, which has the same names"
        )
    builders = import_module("maskstream.pipeline.compat.builders")
    root = _package(ROOT)
    vars(root).update(
        __maskstream__=True,
        __file__=builders.__file__,
        __version__="0.1.0",
        **{name: getattr(builders, name) for name in builders.__all__},
    )
    made = {ROOT: root}
    for name, own in MODULES.items():
        made[name] = (
            _package(name) if own is None else import_module(f"maskstream.pipeline.compat.{own}")
        )
        parent, _, child = name.rpartition(".")
        setattr(made[parent], child, made[name])
    sys.modules.update(made)
    return root


def _is_installed() -> bool:
    """Whether there is a package of this name; a mere folder, of weights or a clone, is none."""
    spec = find_spec(ROOT)
    return spec is not None and spec.origin is not None


def _package(name: str) -> ModuleType:
    module = ModuleType(name, "maskstream, standing in for SAM 3.")
    module.__path__ = []  # a package: what it does not hold is looked for nowhere
    return module
