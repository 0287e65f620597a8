"""Arguments of the original builders that have nothing left to decide here.

A program written for the original runs on after changing its import: what it passes is accepted
where it asks for what is the case anyway, or for speed alone, and refused, never ignored, where it
asks for other results.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from maskstream.core.errors import ConfigError

ANYTHING = object()

MOOT: dict[str, Any] = {
    "bpe_path": ANYTHING,  # the tokenizer comes with the checkpoint
    "load_from_HF": ANYTHING,  # the checkpoint's name says where it is
    "async_loading_frames": ANYTHING,  # frames are read as they are needed
    "video_loader_type": ANYTHING,
    "compile": ANYTHING,  # nothing is compiled; results would be the same
    "warm_up": ANYTHING,
    "use_fa3": ANYTHING,  # torch chooses the fastest attention
    "use_rope_real": ANYTHING,
    "multiplex_count": ANYTHING,  # all objects of a session are one batch
    "num_obj_for_compile": ANYTHING,
    "session_expiration_sec": ANYTHING,
    "enable_segmentation": True,
    "has_presence_token": True,
    "geo_encoder_use_img_cross_attn": True,
    "strict_state_dict_loading": True,
    "apply_temporal_disambiguation": True,
}
"""Value that each of them must have, by name."""

VERSIONS = (None, "sam3", "sam3.1")
"""Both speak the same requests here. The network is what the checkpoint holds, that of SAM 3."""


def check_original_options(builder: str, options: Mapping[str, Any]) -> None:
    """Refuse what cannot be had.

    Args:
        builder: name of the function that was called, for the message.
        options: arguments it does not know itself.

    Raises:
        ConfigError: an unknown argument, or a value that is not offered.
    """
    unknown = sorted(set(options) - set(MOOT))
    if unknown:
        raise ConfigError(f"{builder} does not know the arguments {', '.join(unknown)}")
    for name, value in options.items():
        if MOOT[name] is not ANYTHING and value != MOOT[name]:
            raise ConfigError(f"{builder} offers {name}={MOOT[name]!r} only, not {value!r}")


def check_version(builder: str, version: str | None) -> None:
    """Refuse a version of SAM 3 that is not known.

    Raises:
        ConfigError: the version is none of ``VERSIONS``.
    """
    if version not in VERSIONS:
        known = ", ".join(str(one) for one in VERSIONS if one)
        raise ConfigError(f"{builder} knows the versions {known}, not {version!r}")


def first_device(
    device: torch.device | str | None, gpus_to_use: Iterable[int] | None
) -> torch.device | str | None:
    """The device that a predictor runs on: ``device``, else the lowest of ``gpus_to_use``.

    A predictor runs on one device; a runtime (``Runtime``, ``maskstream serve``) uses all GPUs.
    None or no number is the best device there is, and so is any where there is no CUDA.
    """
    numbers = list(gpus_to_use or ())
    if device is not None or not numbers or not torch.cuda.is_available():
        return device
    return f"cuda:{min(numbers)}"
