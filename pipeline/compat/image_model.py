"""The image model with all that programs for SAM 3 do with it: concepts, batches, clicks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from maskstream.core.checkpoint import resolve_checkpoint
from maskstream.core.errors import ConfigError, PromptError
from maskstream.detector.build import Sam3ImageModel, load_image_model
from maskstream.detector.config import DetectorConfig
from maskstream.detector.model import ImageFeatures
from maskstream.detector.tokenizer import Tokenizer
from maskstream.pipeline.compat.batches import BatchedDatapoint
from maskstream.pipeline.compat.clicks import Clicked, predict_clicks
from maskstream.pipeline.compat.found import FoundInBatch
from maskstream.tracker.build import load_tracker
from maskstream.tracker.network.model import TrackerModel

Array = NDArray[np.float32]
Clicks = tuple[Array, Array, Array]


class Sam3Image(Sam3ImageModel):
    """The image model as SAM 3's builders give it.

    Attributes:
        inst_tracker: segments single objects from clicks; None without instance interactivity.
    """

    def __init__(
        self, config: DetectorConfig, tokenizer: Tokenizer, inst_tracker: TrackerModel | None = None
    ) -> None:
        super().__init__(config, tokenizer)
        self.inst_tracker = inst_tracker
        self.wants_tracker_features = inst_tracker is not None

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        *,
        device: torch.device | str,
        dtype: torch.dtype,
        interactive: bool,
    ) -> Sam3Image:
        """Read a checkpoint.

        Args:
            interactive: with the tracker, for clicks.

        Raises:
            CheckpointError: the checkpoint cannot be read, or its tensors do not fit.
            ConfigError: clicks are asked of a checkpoint of SAM 3.1.
        """
        path = resolve_checkpoint(checkpoint)
        model = load_image_model(cls, path, device=device, dtype=dtype)
        if interactive:
            tracker = load_tracker(path, device=device, dtype=dtype)
            if not isinstance(tracker, TrackerModel):
                raise ConfigError(
                    f"{checkpoint} is of SAM 3.1, which answers clicks in videos alone; for clicks "
                    "in pictures load a checkpoint of SAM 3"
                )
            model.inst_tracker = tracker
            model.wants_tracker_features = True
        return model

    @property
    def inst_interactive_predictor(self) -> TrackerModel | None:
        """What segments from clicks; None without instance interactivity."""
        return self.inst_tracker

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.text_projection.weight.device

    def forward(self, *inputs: Any) -> Any:
        """Find what a batch of pictures with their queries asks for; or as a ``Detector``.

        Args:
            inputs: a ``BatchedDatapoint``, or what :meth:`Detector.forward` takes.

        Returns:
            Of a batch, what ``PostProcessImage`` takes.
        """
        if len(inputs) == 1 and isinstance(inputs[0], BatchedDatapoint):
            return FoundInBatch(self, inputs[0])
        return super().forward(*inputs)

    def predict_inst(self, inference_state: Mapping[str, Any], **drawn: Any) -> Clicks:
        """Segment single objects in the picture of a state, from clicks, boxes or a mask.

        Args:
            inference_state: from ``Sam3Processor.set_image``.
            drawn: the arguments of :func:`maskstream.pipeline.compat.clicks.predict_clicks`.

        Returns:
            Masks (K, H, W), 0 and 1 (logits with ``return_logits``), their predicted quality (K,),
            and low-resolution logits (K, h, w) for ``mask_input``; K is 3 with
            ``multimask_output`` and else 1. Of N > 1 objects, each with N in front.

        Raises:
            PromptError: no picture is set, or what was drawn cannot be used.
            ConfigError: the model was built without ``enable_inst_interactivity``.
        """
        if "original_height" not in inference_state:
            raise PromptError("predict_inst needs the state that set_image returned")
        size = (inference_state["original_height"], inference_state["original_width"])
        return self._predict(inference_state, 0, size, drawn).as_one()

    def predict_inst_batch(
        self,
        inference_state: Mapping[str, Any],
        point_coords_batch: Sequence[ArrayLike | None] | None = None,
        point_labels_batch: Sequence[ArrayLike | None] | None = None,
        box_batch: Sequence[ArrayLike | None] | None = None,
        mask_input_batch: Sequence[ArrayLike | None] | None = None,
        **options: Any,
    ) -> tuple[list[Array], list[Array], list[Array]]:
        """The same for each picture of a state of ``Sam3Processor.set_image_batch``.

        Args:
            inference_state: from ``Sam3Processor.set_image_batch``.
            point_coords_batch: for each picture what ``predict_inst`` takes; so the next three.
            options: as for ``predict_inst``, for all pictures.

        Raises:
            PromptError: no pictures are set, or what was drawn cannot be used.
            ConfigError: the model was built without ``enable_inst_interactivity``.
        """
        if "original_heights" not in inference_state:
            raise PromptError("predict_inst_batch needs the state that set_image_batch returned")
        heights, widths = inference_state["original_heights"], inference_state["original_widths"]
        columns = {
            "point_coords": point_coords_batch,
            "point_labels": point_labels_batch,
            "box": box_batch,
            "mask_input": mask_input_batch,
        }
        for name, column in columns.items():
            if column is not None and len(column) != len(heights):
                raise PromptError(f"{name}_batch is for {len(column)} pictures of {len(heights)}")
        answers = []
        for index, size in enumerate(zip(heights, widths, strict=True)):
            drawn = {n: None if column is None else column[index] for n, column in columns.items()}
            answers.append(self._predict(inference_state, index, size, drawn | options).as_one())
        masks, scores, logits = (list(column) for column in zip(*answers, strict=True))
        return masks, scores, logits

    def _predict(
        self, state: Mapping[str, Any], index: int, size: tuple[int, int], drawn: dict[str, Any]
    ) -> Clicked:
        if self.inst_tracker is None:
            raise ConfigError("clicks need build_sam3_image_model(enable_inst_interactivity=True)")
        features = state["backbone_out"]
        if not isinstance(features, ImageFeatures) or features.tracker_levels is None:
            raise PromptError("the state is of another model; set the picture with this one")
        return predict_clicks(self.inst_tracker, features.tracker_features(index), size, **drawn)
