"""Arguments of the original builders that have nothing left to decide here.

A program written for the original runs on after changing its import: what it passes is accepted
where it asks for what is the case anyway, and refused, never ignored, where it asks for more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maskstream.core.errors import ConfigError

ANYTHING = object()

MOOT: dict[str, Any] = {
    "bpe_path": ANYTHING,  # the tokenizer comes with the checkpoint
    "load_from_HF": ANYTHING,  # the checkpoint's name says where it is
    "async_loading_frames": ANYTHING,  # frames are read as they are needed
    "video_loader_type": ANYTHING,
    "enable_segmentation": True,
    "enable_inst_interactivity": False,
    "has_presence_token": True,
    "geo_encoder_use_img_cross_attn": True,
    "strict_state_dict_loading": True,
    "apply_temporal_disambiguation": True,
    "compile": False,
}
"""Value that each of them must have, by name."""


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
