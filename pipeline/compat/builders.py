"""The builders that programs written for SAM 3 call.

They take the original's arguments, in its order. Those that have nothing left to decide here are
explained in ``original_options.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from maskstream.core.threads import threads_settled
from maskstream.detector.build import best_device, best_dtype, default_checkpoint
from maskstream.pipeline.compat.image_model import Sam3Image
from maskstream.pipeline.compat.original_options import check_original_options, check_version
from maskstream.pipeline.compat.video_model import Sam3VideoModel
from maskstream.pipeline.compat.video_predictor import Sam3VideoPredictor
from maskstream.pipeline.video.model import VideoModel

__all__ = [
    "build_sam3_image_model",
    "build_sam3_predictor",
    "build_sam3_video_model",
    "build_sam3_video_predictor",
]


def build_sam3_image_model(
    bpe_path: str | Path | None = None,
    device: torch.device | str | None = None,
    eval_mode: bool = True,
    checkpoint_path: str | Path | None = None,
    load_from_HF: bool = True,
    enable_segmentation: bool = True,
    enable_inst_interactivity: bool = False,
    compile: bool = False,
    *,
    dtype: torch.dtype | None = None,
    **original_options: Any,
) -> Sam3Image:
    """The image model that :class:`maskstream.detector.processor.Sam3Processor` takes.

    Args:
        bpe_path: not used; the tokenizer comes with the checkpoint.
        device: None takes CUDA where there is one.
        eval_mode: False leaves the model in training mode.
        checkpoint_path: "tiny", a folder, an official ``.pt`` file or a hub name such as
            ``facebook/sam3``; None takes the default checkpoint, whatever ``load_from_HF`` says.
        load_from_HF: not used; the checkpoint's name says where it is.
        enable_segmentation: only True is possible.
        enable_inst_interactivity: load the tracker too, for ``predict_inst``.
        compile: not used; nothing is compiled.
        dtype: of the weights; None takes bfloat16 on CUDA and float32 elsewhere.
        original_options: see :mod:`maskstream.pipeline.compat.original_options`.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ConfigError: an argument that is not known here, or asks for what is not offered.
    """
    given = {"enable_segmentation": enable_segmentation, **original_options}
    check_original_options("build_sam3_image_model", given)
    placed = device or best_device()
    with threads_settled():
        model = Sam3Image.load(
            checkpoint_path or default_checkpoint(),
            device=placed,
            dtype=dtype or best_dtype(placed),
            interactive=enable_inst_interactivity,
        )
    return model if eval_mode else model.train()


def build_sam3_video_model(
    checkpoint_path: str | Path | None = None,
    load_from_HF: bool = True,
    bpe_path: str | Path | None = None,
    has_presence_token: bool = True,
    geo_encoder_use_img_cross_attn: bool = True,
    strict_state_dict_loading: bool = True,
    apply_temporal_disambiguation: bool = True,
    device: torch.device | str | None = None,
    compile: bool = False,
    *,
    dtype: torch.dtype | str | None = None,
    **original_options: Any,
) -> Sam3VideoModel:
    """The video model; its ``tracker`` takes the calls of SAM 2's video predictor.

    Args:
        checkpoint_path: as for :func:`build_sam3_image_model`.
        load_from_HF: not used, as ``bpe_path`` and ``compile``.
        bpe_path: not used.
        has_presence_token: only True is possible, as for the next three.
        geo_encoder_use_img_cross_attn: see above.
        strict_state_dict_loading: see above.
        apply_temporal_disambiguation: see above.
        device: None takes CUDA where there is one.
        compile: not used.
        dtype: of the weights; None takes bfloat16 on CUDA and float32 elsewhere.
        original_options: see :mod:`maskstream.pipeline.compat.original_options`.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ConfigError: an argument that is not known here, or asks for what is not offered.
    """
    given = {
        "has_presence_token": has_presence_token,
        "geo_encoder_use_img_cross_attn": geo_encoder_use_img_cross_attn,
        "strict_state_dict_loading": strict_state_dict_loading,
        "apply_temporal_disambiguation": apply_temporal_disambiguation,
        **original_options,
    }
    check_original_options("build_sam3_video_model", given)
    return Sam3VideoModel(VideoModel.from_checkpoint(checkpoint_path, device=device, dtype=dtype))


def build_sam3_video_predictor(*arguments: Any, **options: Any) -> Sam3VideoPredictor:
    """A predictor over a freshly loaded checkpoint.

    Args:
        arguments: those of :class:`Sam3VideoPredictor`: ``checkpoint_path``, ``bpe_path``, ….
        options: the same by name, and ``device``, ``gpus_to_use``, ``dtype``, ``latency``,
            ``max_sessions``.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ConfigError: an argument that is not known here, or asks for what is not offered.
    """
    return Sam3VideoPredictor(*arguments, **options)


def build_sam3_predictor(
    checkpoint_path: str | Path | None = None,
    bpe_path: str | Path | None = None,
    version: str | None = None,
    compile: bool = False,
    warm_up: bool = False,
    max_num_objects: int | None = None,
    multiplex_count: int | None = None,
    use_fa3: bool = True,
    use_rope_real: bool = True,
    async_loading_frames: bool = True,
    **options: Any,
) -> Sam3VideoPredictor:
    """A predictor by the name that SAM 3.1 gives its builder.

    Args:
        checkpoint_path: as for :func:`build_sam3_image_model`.
        bpe_path: not used.
        version: "sam3" or "sam3.1", or None. The network is what the checkpoint holds, that of
            SAM 3; the requests of both versions are understood.
        compile: not used, as ``warm_up``: nothing is compiled.
        warm_up: not used.
        max_num_objects: objects of a session at a time; None takes the checkpoint's own.
        multiplex_count: not used, as the next three: all objects of a session are one batch.
        use_fa3: not used.
        use_rope_real: not used.
        async_loading_frames: not used.
        options: as for :func:`build_sam3_video_predictor`.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ConfigError: an argument that is not known here, or asks for what is not offered.
    """
    check_version("build_sam3_predictor", version)
    predictor = build_sam3_video_predictor(checkpoint_path, bpe_path, **options)
    if max_num_objects is not None:
        predictor.model.max_num_objects = max_num_objects
    return predictor
