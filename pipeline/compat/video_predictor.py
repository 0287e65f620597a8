"""The video predictor with the methods that SAM 3's has beside its requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from maskstream.pipeline.api.fields import Direction
from maskstream.pipeline.api.options import Latency
from maskstream.pipeline.client.answers import Answer
from maskstream.pipeline.compat.video_model import Sam3VideoModel
from maskstream.pipeline.local.predictor import Sam3VideoPredictor
from maskstream.pipeline.local.torch_thread import TorchThread
from maskstream.pipeline.video.model import VideoModel


class OriginalPredictor(Sam3VideoPredictor):
    """A predictor that programs written for SAM 3 know their way around.

    Each method sends the request of its name; see ``handle_request``.

    Attributes:
        model: the model, whose rules may be set; see :class:`Sam3VideoModel`.
    """

    def __init__(
        self,
        model: VideoModel,
        *,
        latency: Latency = "delayed",
        max_sessions: int = 32,
        expire_after_s: float = 3600.0,
        torch_thread: TorchThread | None = None,
    ) -> None:
        self.model = Sam3VideoModel(model)
        super().__init__(
            model,
            latency=latency,
            max_sessions=max_sessions,
            expire_after_s=expire_after_s,
            torch_thread=torch_thread,
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
