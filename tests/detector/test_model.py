from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from maskstream.core.boxes import cxcywh_to_xyxy
from maskstream.core.types import Detections
from maskstream.detector.model import Detector, ImageFeatures
from maskstream.detector.prompts import (
    ConceptBatch,
    Exemplar,
    Exemplars,
    GeometryPrompts,
    PromptTokens,
    batch_exemplars,
    pad_tokens,
)
from tests.detector.small import (
    DECODER,
    IMAGE_SIZE,
    WIDTH,
    random_images,
    random_text,
    small_detector,
)

pytestmark = pytest.mark.usefixtures("two_threads")

MASK_SIZE = (32, 32)


def mixed_batch(detector: Detector) -> ConceptBatch:
    """Four concepts over two images: words alone, words with boxes, boxes and points alone."""
    mask = torch.zeros(IMAGE_SIZE, IMAGE_SIZE)
    mask[10:30, 20:50] = 1
    geometry = batch_exemplars(
        [
            Exemplar(),
            Exemplar(boxes=[(0.4, 0.5, 0.3, 0.4), (0.7, 0.2, 0.2, 0.2)], box_labels=[1, 0]),
            Exemplar(boxes=[(0.5, 0.5, 0.9, 0.9)], box_labels=[1]),
            Exemplar(points=[(0.2, 0.3)], point_labels=[1], masks=[mask], mask_labels=[0]),
        ]
    )
    return ConceptBatch(random_text(detector, [5, 3, 4, 32]), torch.tensor([0, 1, 0, 1]), geometry)


def one_of(batch: ConceptBatch, k: int) -> ConceptBatch:
    """Concept ``k`` alone, cut to what it really has, on an image of its own."""
    text = batch.text.tokens[k : k + 1, batch.text.valid[k]]
    assert batch.geometry is not None
    kinds: dict[str, Exemplars] = {}
    for f in fields(GeometryPrompts):
        kind = getattr(batch.geometry, f.name)
        valid = kind.valid[k]
        if valid.any():
            kinds[f.name] = Exemplars(
                kind.values[k : k + 1, valid], kind.labels[k : k + 1, valid], valid[valid][None]
            )
    return ConceptBatch(
        PromptTokens(text, torch.ones(text.shape[:2], dtype=torch.bool)),
        torch.zeros(1, dtype=torch.long),
        GeometryPrompts(**kinds) if kinds else None,
    )


@pytest.mark.parametrize("always", [True, False])
def test_many_concepts_and_images_as_one_by_one(always: bool) -> None:
    detector = small_detector(geometry_token_always=always)
    pixels = random_images(2)
    batch = mixed_batch(detector)
    output = detector(detector.encode_image(pixels), batch)
    masks = detector.masks_of(output.queries[-1], output.pixels)
    semantic = detector.semantic_map(output)
    for k in range(4):
        image = batch.image_index[k]
        alone = detector(detector.encode_image(pixels[image][None]), one_of(batch, k))
        close: dict[str, Any] = {"atol": 1e-4, "rtol": 1e-4}
        torch.testing.assert_close(output.logits[:, k], alone.logits[:, 0], **close)
        torch.testing.assert_close(output.boxes[:, k], alone.boxes[:, 0], **close)
        presence = alone.presence_logits[:, 0]
        torch.testing.assert_close(output.presence_logits[:, k], presence, **close)
        own = detector.masks_of(alone.queries[-1], alone.pixels)
        torch.testing.assert_close(masks[k], own[0], **close)
        torch.testing.assert_close(semantic[k], detector.semantic_map(alone)[0], **close)


def test_words_alone_carry_the_geometry_token_as_in_the_original() -> None:
    detector = small_detector()
    features = detector.encode_image(random_images())
    batch = ConceptBatch(random_text(detector, [5, 32]), torch.zeros(2, dtype=torch.long))
    prompt = detector.encode_prompt(features, batch)
    assert prompt.tokens.shape == (2, 33, WIDTH)
    assert prompt.valid.sum(1).tolist() == [6, 33]
    assert prompt.valid[:, 32].all()


def test_words_alone_carry_no_geometry_token_in_transformers() -> None:
    detector = small_detector(geometry_token_always=False)
    features = detector.encode_image(random_images())
    text = random_text(detector, [5, 3])
    index = torch.zeros(2, dtype=torch.long)
    assert detector.encode_prompt(features, ConceptBatch(text, index)).tokens.shape == (
        2,
        32,
        WIDTH,
    )
    shown = batch_exemplars([Exemplar(boxes=[(0.5, 0.5, 0.2, 0.2)], box_labels=[1]), Exemplar()])
    prompt = detector.encode_prompt(features, ConceptBatch(text, index, shown))
    assert prompt.valid.sum(1).tolist() == [5 + 1 + 1, 3]


@pytest.mark.parametrize("always", [True, False])
def test_exemplars_encoded_before_are_as_exemplars_shown_now(always: bool) -> None:
    detector = small_detector(geometry_token_always=always)
    features = detector.encode_image(random_images(2))
    batch = mixed_batch(detector)
    encoded = [detector.encode_exemplars(features, batch.geometry, batch.image_index)]
    rows = [t[v] for t, v in zip(encoded[0].tokens, encoded[0].valid, strict=True)]
    rows[0] = rows[0][:0]  # nothing was shown of the first concept
    earlier = ConceptBatch(batch.text, batch.image_index, exemplars=pad_tokens(rows))
    now, then = detector(features, batch), detector(features, earlier)
    torch.testing.assert_close(then.logits, now.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(then.boxes, now.boxes, atol=1e-4, rtol=1e-4)


def test_text_is_padded_behind_the_words() -> None:
    detector = small_detector()
    text = random_text(detector, [4])
    features = detector.encode_image(random_images())
    index = torch.zeros(1, dtype=torch.long)
    padded = detector(features, ConceptBatch(text, index))
    cut = PromptTokens(text.tokens[:, :4], text.valid[:, :4])
    short = detector(features, ConceptBatch(cut, index))
    torch.testing.assert_close(short.logits, padded.logits, atol=1e-5, rtol=1e-4)


def test_both_branches_come_from_one_pass() -> None:
    detector = small_detector()
    calls: list[int] = []
    detector.vision_encoder.backbone.register_forward_hook(lambda *_: calls.append(1))
    features = detector.encode_image(random_images(2), tracker=True)
    assert len(calls) == 1
    levels = features.tracker_features(1).levels
    assert [tuple(level.shape) for level in levels] == [
        (1, WIDTH, 32, 32),
        (1, WIDTH, 16, 16),
        (1, WIDTH, 8, 8),
    ]
    assert features.tracker_levels is not None
    assert torch.equal(levels[2][0], features.tracker_levels[2][1])
    with pytest.raises(RuntimeError, match="tracker=True"):
        detector.encode_image(random_images()).tracker_features(0)


def test_training_gives_a_one_to_many_half_and_eval_does_not() -> None:
    detector = small_detector()
    features = detector.encode_image(random_images())
    batch = ConceptBatch(random_text(detector, [4, 6]), torch.zeros(2, dtype=torch.long))
    plain = detector(features, batch)
    assert plain.many is None
    assert plain.logits.shape == (1, 2, DECODER.num_queries)

    output = detector.train()(features, batch)
    assert output.many is not None
    assert output.logits.shape == (DECODER.num_layers, 2, DECODER.num_queries)
    assert output.many.logits.shape == output.logits.shape
    assert output.many.many is None
    torch.testing.assert_close(output.logits[-1:], plain.logits, atol=1e-5, rtol=1e-4)
    assert (output.many.logits - output.logits).abs().max() > 1e-2


def brute_force(
    detector: Detector,
    features: ImageFeatures,
    batch: ConceptBatch,
    prompt_ids: Tensor,
    threshold: float,
    nms_iou: float | None,
    image: int,
) -> Detections:
    """What ``detect`` is to give for one image, from all masks of all queries, in loops."""
    output = detector(features, batch)
    masks = detector.masks_of(output.queries[-1], output.pixels)
    boxes = cxcywh_to_xyxy(output.boxes[-1])
    kept: list[tuple[int, int, float]] = []
    for k in range(len(batch)):
        if batch.image_index[k] != image:
            continue
        presence = output.presence_logits[-1, k].sigmoid()
        scores = (output.logits[-1, k].sigmoid() * presence).tolist()
        chosen: list[int] = []
        for q in sorted(range(len(scores)), key=lambda q: -scores[q]):
            if scores[q] <= threshold:
                continue
            inside = masks[k, q] > 0
            overlaps = []
            for other in chosen:
                both, either = inside & (masks[k, other] > 0), inside | (masks[k, other] > 0)
                overlaps.append(int(both.sum()) / max(int(either.sum()), 1))
            if nms_iou is None or all(overlap <= nms_iou for overlap in overlaps):
                chosen.append(q)
        kept += [(k, q, scores[q]) for q in sorted(chosen)]
    rows = [k for k, _, _ in kept], [q for _, q, _ in kept]
    return Detections(
        prompt_ids=prompt_ids[rows[0]],
        scores=torch.tensor([score for _, _, score in kept]),
        boxes=boxes[rows],
        masks=masks[rows],
    )


@pytest.mark.parametrize("nms_iou", [None, 0.1, 0.5])
@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.3])
def test_detect_is_brute_force(threshold: float, nms_iou: float | None) -> None:
    detector = small_detector(seed=3)
    features = detector.encode_image(random_images(2))
    batch, prompt_ids = mixed_batch(detector), torch.tensor([40, 10, 30, 20])
    found = detector.detect(features, batch, prompt_ids, score_threshold=threshold, nms_iou=nms_iou)
    assert len(found) == 2
    total = sum(len(one) for one in found)
    everything = threshold == 0.0 and nms_iou is None
    assert total == 4 * DECODER.num_queries if everything else 0 < total < 4 * DECODER.num_queries
    for image, one in enumerate(found):
        expected = brute_force(detector, features, batch, prompt_ids, threshold, nms_iou, image)
        assert one.prompt_ids.tolist() == expected.prompt_ids.tolist()
        torch.testing.assert_close(one.scores, expected.scores, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(one.boxes, expected.boxes, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(one.masks, expected.masks, atol=1e-4, rtol=1e-4)


def test_masks_are_made_only_for_what_passes() -> None:
    detector = small_detector(seed=3)
    features = detector.encode_image(random_images())
    text = random_text(detector, [4, 5, 6, 7])
    batch = ConceptBatch(text, torch.zeros(4, dtype=torch.long))
    output = detector(features, batch)
    scores = output.logits[-1].sigmoid() * output.presence_logits[-1].sigmoid()[:, None]
    best = scores.amax(1).sort(descending=True).values
    threshold = float((best[1] + best[2]) / 2)  # two of four concepts are there
    made: list[torch.Size] = []
    head = detector.mask_decoder
    head.pixel_decoder.register_forward_hook(lambda *given: made.append(given[-1].shape))
    ids = torch.arange(4)
    [found] = detector.detect(features, batch, ids, score_threshold=threshold, nms_iou=None)
    assert found.prompt_ids.unique().numel() == 2
    assert sum(shape[0] for shape in made) == 2

    made.clear()
    [none] = detector.detect(features, batch, ids, score_threshold=1.0, nms_iou=0.5)
    assert len(none) == 0
    assert none.masks.shape == (0, *MASK_SIZE)
    assert made == []


def test_pooled_text_reaches_the_fusion() -> None:
    plain = small_detector()
    fusion = replace(plain.config.detr_encoder_config, add_pooled_text=True)
    detector = small_detector(detr_encoder_config=fusion)
    detector.load_state_dict(plain.state_dict(), strict=False)
    features = plain.encode_image(random_images())
    batch = ConceptBatch(random_text(plain, [4]), torch.zeros(1, dtype=torch.long))
    difference = detector(features, batch).logits - plain(features, batch).logits
    assert difference.abs().max() > 1e-3
