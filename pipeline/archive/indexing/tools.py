"""What indexing needs of a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from maskstream.core.checkpoint import resolve_checkpoint
from maskstream.detector.build import default_checkpoint
from maskstream.detector.frames import Concept, DetectedFrame, FrameDetector
from maskstream.pipeline.archive.embedding import embed_text
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.tracking import SessionTracking, detection_rules

_BLOCK_BYTES = 2**22


class IndexingTools(Protocol):
    """Detects in frames and makes trackings. Belongs to one thread at a time."""

    def new_tracking(self) -> SessionTracking:
        """A tracking without concepts, whose results are delayed until they are final."""
        ...

    def detect(
        self, images: Sequence[NDArray[np.uint8]], concepts: Sequence[Sequence[Concept]]
    ) -> list[DetectedFrame]:
        """Find in each of B pictures (H, W, 3) its own concepts; one ViT pass for all.

        Raises:
            ImageError: a picture cannot be used.
        """
        ...

    def embed(self, text: str) -> list[float] | None:
        """The embedding of a concept's text, see ``ConceptRecord``.

        Raises:
            PromptError: the model cannot take the text.
        """
        ...


class ModelTools:
    """The tools of a real model."""

    def __init__(self, model: VideoModel, score_threshold: float | None) -> None:
        self._model = model
        self._detector = FrameDetector(model.detector)
        self._rules = detection_rules(model.config, score_threshold)

    def new_tracking(self) -> SessionTracking:
        """See ``IndexingTools``."""
        return SessionTracking(self._model.tracker, self._model.config, latency="delayed")

    def detect(
        self, images: Sequence[NDArray[np.uint8]], concepts: Sequence[Sequence[Concept]]
    ) -> list[DetectedFrame]:
        """See ``IndexingTools``."""
        features = self._detector.encode(images)
        found = self._detector.detect_each(features, [(one, self._rules) for one in concepts])
        return [
            DetectedFrame(features.tracker_features(row), detections)
            for row, detections in enumerate(found)
        ]

    def embed(self, text: str) -> list[float] | None:
        """See ``IndexingTools``."""
        return embed_text(self._model.detector, text)


def load_tools(
    checkpoint: str | None,
    *,
    device: str | None,
    dtype: str,
    score_threshold: float | None,
    num_threads: int | None = 1,
) -> ModelTools:
    """Load a checkpoint for indexing.

    Args:
        checkpoint: as ``VideoModel.from_checkpoint`` takes it.
        device: None: CUDA where there is one.
        dtype: "float32", "bfloat16" or "float16".
        score_threshold: None: the checkpoint's own.
        num_threads: torch threads of this process; with one, results are the same to the bit
            everywhere on one kind of machine. None leaves them as they are.

    Raises:
        CheckpointError, ConfigError: see ``VideoModel.from_checkpoint``.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    model = VideoModel.from_checkpoint(checkpoint, device=device, dtype=dtype)
    return ModelTools(model, score_threshold)


def checkpoint_digest(checkpoint: str | None) -> str:
    """SHA-256 of a checkpoint's files, hexadecimal.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    path = resolve_checkpoint(checkpoint or default_checkpoint())
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else _checkpoint_files(path):
        digest.update(f"{file.name}\n{file.stat().st_size}\n".encode())
        with file.open("rb") as content:
            while block := content.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _checkpoint_files(folder: Path) -> list[Path]:
    """Weights, configuration and vocabulary; not the text that explains them."""
    kinds = {".json", ".safetensors", ".txt"}
    return sorted(one for one in folder.iterdir() if one.is_file() and one.suffix in kinds)
