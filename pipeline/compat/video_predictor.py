"""The video predictor with the methods that SAM 3's has beside its requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from maskstream.pipeline.api.fields import Direction
from maskstream.pipeline.api.options import Latency
from maskstream.pipeline.client.answers import Answer
from maskstream.pipeline.compat.original_options import check_original_options, first_device
from maskstream.pipeline.compat.video_model import Sam3VideoModel
from maskstream.pipeline.local.predictor import Sam3VideoPredictor as LocalPredictor
from maskstream.pipeline.local.torch_thread import TorchThread
from maskstream.pipeline.video.model import VideoModel


class Sam3VideoPredictor(LocalPredictor):
    """A predictor over a freshly loaded checkpoint, which programs for SAM 3 know their way around.

    Each method sends the request of its name; see ``handle_request``.

    Attributes:
        model: the model, whose rules may be set; see :class:`Sam3VideoModel`.

    Args:
        checkpoint_path: as for :func:`maskstream.build_sam3_image_model`.
        bpe_path: not used.
        has_presence_token: only True is possible, as for the next two.
        geo_encoder_use_img_cross_attn: see above.
        strict_state_dict_loading: see above.
        async_loading_frames: not used; frames are read as they are needed.
        video_loader_type: not used.
        apply_temporal_disambiguation: only True is possible.
        device: None takes CUDA where there is one.
        gpus_to_use: the predictor runs on the lowest of these numbers; none, the best device. All
            GPUs of a machine are used by a runtime (``Runtime``, ``maskstream serve``). Without
            CUDA the numbers do not count.
        dtype: of the weights; None takes bfloat16 on CUDA and float32 elsewhere.
        latency: see :class:`maskstream.pipeline.local.predictor.Sam3VideoPredictor`.
        max_sessions: see there.
        expire_after_s: see there.
        original_options: see :mod:`maskstream.pipeline.compat.original_options`.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ConfigError: an argument that is not known here, or asks for what is not offered.
    """

    def __init__(
        self,
        checkpoint_path: str | Path | None = None,
        bpe_path: str | Path | None = None,
        has_presence_token: bool = True,
        geo_encoder_use_img_cross_attn: bool = True,
        strict_state_dict_loading: bool = True,
        async_loading_frames: bool = False,
        video_loader_type: str = "cv2",
        apply_temporal_disambiguation: bool = True,
        *,
        device: torch.device | str | None = None,
        gpus_to_use: Iterable[int] | None = None,
        dtype: torch.dtype | str | None = None,
        latency: Latency = "delayed",
        max_sessions: int = 32,
        expire_after_s: float = 3600.0,
        **original_options: Any,
    ) -> None:
        given = {
            "has_presence_token": has_presence_token,
            "geo_encoder_use_img_cross_attn": geo_encoder_use_img_cross_attn,
            "strict_state_dict_loading": strict_state_dict_loading,
            "apply_temporal_disambiguation": apply_temporal_disambiguation,
            **original_options,
        }
        check_original_options("build_sam3_video_predictor", given)
        placed = first_device(device, gpus_to_use)
        thread = TorchThread()
        try:
            model = thread.run(
                VideoModel.from_checkpoint, checkpoint_path, device=placed, dtype=dtype
            )
        except BaseException:
            thread.close()
            raise
        self.model = Sam3VideoModel(model)
        super().__init__(
            model,
            latency=latency,
            max_sessions=max_sessions,
            expire_after_s=expire_after_s,
            torch_thread=thread,
        )

    @property
    def video_model(self) -> VideoModel:
        """The model of sessions that start now, with the rules that were set."""
        return self.model.video_model

    def start_session(
        self, resource_path: Any, session_id: str | None = None, **options: Any
    ) -> Answer:
        """Open a session."""
        return self._ask(
            "start_session", resource_path=resource_path, session_id=session_id, **options
        )

    def add_prompt(
        self,
        session_id: str,
        frame_idx: int,
        text: str | Sequence[str] | None = None,
        points: Any = None,
        point_labels: Any = None,
        bounding_boxes: Any = None,
        bounding_box_labels: Any = None,
        obj_id: int | None = None,
        **options: Any,
    ) -> Answer:
        """Add concepts or an object."""
        return self._ask(
            "add_prompt",
            session_id=session_id,
            frame_index=frame_idx,
            text=text,
            points=points,
            point_labels=point_labels,
            bounding_boxes=bounding_boxes,
            bounding_box_labels=bounding_box_labels,
            obj_id=obj_id,
            **options,
        )

    def propagate_in_video(
        self,
        session_id: str,
        propagation_direction: Direction = "both",
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        **options: Any,
    ) -> Iterator[Answer]:
        """Step over the video; an answer for each frame."""
        return self.handle_stream_request(
            {
                "type": "propagate_in_video",
                "session_id": session_id,
                "propagation_direction": propagation_direction,
                "start_frame_index": start_frame_idx,
                "max_frame_num_to_track": max_frame_num_to_track,
                **options,
            }
        )

    def remove_object(
        self, session_id: str, obj_id: int, is_user_action: bool = True, **options: Any
    ) -> Answer:
        """Drop one object."""
        return self._ask("remove_object", session_id=session_id, obj_id=obj_id, **options)

    def cancel_propagation(self, session_id: str) -> Answer:
        """Stop a running propagation before its next frame."""
        return self._ask("cancel_propagation", session_id=session_id)

    def reset_session(self, session_id: str) -> Answer:
        """Forget all prompts and objects; keep the source."""
        return self._ask("reset_session", session_id=session_id)

    def close_session(self, session_id: str, **options: Any) -> Answer:
        """End a session. Closing twice is fine."""
        return self._ask("close_session", session_id=session_id, **options)

    def shutdown(self) -> None:
        """Close all sessions; the same as ``close``."""
        self.close()

    def _ask(self, kind: str, **fields: Any) -> Answer:
        return self.handle_request({"type": kind, **fields})


Sam3VideoPredictorMultiGPU = Sam3VideoPredictor
"""By the name of the original that is built by default."""
