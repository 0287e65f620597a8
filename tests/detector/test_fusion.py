from __future__ import annotations

from dataclasses import replace

import torch

from maskstream.detector.fusion import FusionEncoder, masked_mean
from tests.detector.small import FUSION, WIDTH
from tests.support import randomised

CELLS = 12


def encoder(**changes: bool) -> FusionEncoder:
    model = FusionEncoder(replace(FUSION, **changes))
    randomised(model)
    return model.eval().requires_grad_(False)


def inputs(num_images: int, num_concepts: int) -> dict[str, torch.Tensor]:
    return {
        "image": torch.randn(num_images, CELLS, WIDTH),
        "position": torch.randn(1, CELLS, WIDTH),
        "prompt": torch.randn(num_concepts, 5, WIDTH),
        "valid": torch.arange(5) < torch.tensor([5, 3, 1, 2])[:num_concepts, None],
        "image_index": torch.arange(num_concepts) % num_images,
        "pooled_text": torch.randn(num_concepts, WIDTH),
    }


def test_masked_mean() -> None:
    tokens = torch.tensor([[[1.0], [3.0], [100.0]], [[7.0], [8.0], [9.0]]])
    valid = torch.tensor([[True, True, False], [False, False, False]])
    assert masked_mean(tokens, valid).tolist() == [[2.0], [0.0]]


def test_concepts_of_shared_images_as_with_images_of_their_own() -> None:
    model, given = encoder(), inputs(2, 4)
    together = model(**given)
    for k in range(4):
        one = given["image"][k % 2 : k % 2 + 1]
        alone = model(
            one,
            given["position"],
            given["prompt"][k : k + 1],
            given["valid"][k : k + 1],
            torch.zeros(1, dtype=torch.long),
            given["pooled_text"][k : k + 1],
        )
        torch.testing.assert_close(together[k : k + 1], alone, atol=1e-5, rtol=1e-4)


def test_padding_of_the_prompt_is_not_seen() -> None:
    model, given = encoder(), inputs(1, 3)
    before = model(**given)
    given["prompt"] = torch.where(given["valid"][..., None], given["prompt"], 50.0)
    torch.testing.assert_close(model(**given), before)
    given["prompt"][1, 0] += 1.0
    assert (model(**given) - before)[1].abs().max() > 1e-2


def test_pooled_text_is_added_to_every_image_token() -> None:
    model, plain, given = encoder(add_pooled_text=True), encoder(), inputs(2, 4)
    plain.load_state_dict(model.state_dict(), strict=False)
    added = model.pooled_text_projection(given["pooled_text"])[:, None]
    expected = dict(given, image=given["image"][given["image_index"]] + added)
    expected["image_index"] = torch.arange(4)
    torch.testing.assert_close(model(**given), plain(**expected), atol=1e-5, rtol=1e-4)


def test_pooled_text_is_off_by_default_and_has_no_weights_then() -> None:
    model, given = encoder(), inputs(1, 2)
    before = model(**given)
    given["pooled_text"] = given["pooled_text"] + 1
    assert torch.equal(model(**given), before)
    assert not [name for name in model.state_dict() if "pooled" in name]
