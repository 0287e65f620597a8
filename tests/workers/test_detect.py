"""Detection in batches gives each session what it would have got alone, to the bit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from maskstream.core.error_text import error_from_text
from maskstream.core.errors import ImageError, PromptError
from maskstream.core.types import Detections
from maskstream.detector.frames import Concept, DetectionRules, FrameDetector
from maskstream.detector.prompts import Exemplar
from maskstream.workers.detect import DetectWorker
from maskstream.workers.local_detect import BatchLimits, LocalDetectionService
from maskstream.workers.messages import DetectRequest, Refusal, concept_list
from maskstream.workers.models import ModelSpec
from tests.pipeline import scene

RULES = DetectionRules(score_threshold=0.5, nms_iou=0.1)
RED, BLUE = Concept(0, "red circle", None), Concept(1, "blue square", None)


@pytest.fixture(scope="module")
def detector() -> FrameDetector:
    return ModelSpec(checkpoint="tiny", device="cpu").load_detector()


@pytest.fixture
def service(detector: FrameDetector) -> Iterator[LocalDetectionService]:
    limits = BatchLimits(max_batch=3, max_wait_ms=10_000, num_threads=1)
    made = LocalDetectionService(detector, limits)
    yield made
    made.close()


def same(one: Detections, other: Detections) -> bool:
    return all(
        torch.equal(getattr(one, name), getattr(other, name))
        for name in ("prompt_ids", "scores", "boxes", "masks")
    )


def test_frames_of_several_sessions_in_one_batch(
    service: LocalDetectionService, detector: FrameDetector
) -> None:
    wanted = [("a", [RED], 0), ("b", [RED, BLUE], 4), ("c", [], 9)]
    pending = [
        service.submit(DetectRequest(name, concept_list(name, concepts), RULES), scene.image(index))
        for name, concepts, index in wanted
    ]
    answers = [one.result() for one in pending]
    assert service.batcher.num_batches == 1
    alone = FrameDetector(detector.model)
    for (_, concepts, index), answer in zip(wanted, answers, strict=True):
        features = alone.encode([scene.image(index)])
        assert same(answer.detections, alone.detect(features, concepts, RULES))
        levels = features.tracker_features(0).levels
        assert all(map(torch.equal, answer.features.levels, levels))
    assert len(answers[0].detections) >= 1
    assert len(answers[2].detections) == 0


def test_a_concept_is_found_as_if_it_were_alone(detector: FrameDetector) -> None:
    """To the bit, whatever else is asked for, of whatever length."""
    texts = ["red circle", "blue square", "star", "any thing with a very long name indeed", "狗脸"]
    concepts = [Concept(i, text, None) for i, text in enumerate(texts)]
    few = DetectionRules(score_threshold=0.05, nms_iou=0.5)
    features = detector.encode([scene.image(4)])
    alone = [detector.detect(features, [concept], few) for concept in concepts]
    assert sum(map(len, alone)) >= 4
    for ids in ([0, 1], [0, 3], [0, 1, 2], [1, 4], [0, 1, 2, 3, 4]):
        together = detector.detect(features, [concepts[i] for i in ids], few)
        for i in ids:
            rows = together.prompt_ids == i
            one = Detections(
                together.prompt_ids[rows],
                together.scores[rows],
                together.boxes[rows],
                together.masks[rows],
            )
            assert same(one, alone[i]), (ids, texts[i])


def test_what_is_found_together_is_what_is_found_alone(detector: FrameDetector) -> None:
    # How a GPU does it: one pass for all; here the last bits may differ.
    wanted = [([RED], RULES), ([], RULES), ([BLUE, RED], DetectionRules(0.9, 0.1))]
    features = detector.encode([scene.image(index) for index in (0, 3, 6)])
    with torch.inference_mode():
        found = detector._detect_together(features, wanted)
    for one, other in zip(found, detector.detect_each(features, wanted), strict=True):
        assert one.prompt_ids.tolist() == other.prompt_ids.tolist()
        assert torch.allclose(one.scores, other.scores, atol=1e-5)
        assert torch.equal(one.masks > 0, other.masks > 0)


def test_exemplars_and_texts(detector: FrameDetector) -> None:
    service = LocalDetectionService(detector, BatchLimits())
    shown = Exemplar(boxes=[(0.28, 0.335, 0.24, 0.33)], box_labels=[1])
    request = DetectRequest("a", concept_list("", []), RULES, shown)
    tokens = service.submit(request, scene.image(0)).result().exemplar
    assert tokens is not None
    with torch.inference_mode():
        expected = detector.encode_exemplar(detector.encode([scene.image(0)]), shown)
    assert torch.equal(tokens, expected)
    service.check_text("a", "red circle")
    with pytest.raises(PromptError):
        service.check_text("a", " ")
    with pytest.raises(ImageError):
        service.submit(request, scene.image(0)[:0]).result()
    service.close()


def test_what_a_worker_refuses_is_raised_again_as_what_it_was() -> None:
    worker = DetectWorker(ModelSpec(checkpoint="tiny", device="cpu"), BatchLimits())
    request = DetectRequest("a", concept_list("", []), RULES)
    for refusal, kind, message in (
        (worker.check_text("a", " "), PromptError, "empty"),
        (worker.detect(request, scene.image(0)[:0]), ImageError, "0"),
    ):
        assert isinstance(refusal, Refusal)
        error = error_from_text(refusal.text)
        assert type(error) is kind
        assert message in str(error)
    assert worker.check_text("a", "red circle") is None
    worker._local.close()
