from __future__ import annotations

import torch

from maskstream.detector.text import TextEncoder
from tests.detector.small import TEXT
from tests.support import randomised


def encoder() -> TextEncoder:
    model = TextEncoder(TEXT)
    randomised(model)
    return model.eval().requires_grad_(False)


def test_a_token_sees_itself_and_what_stands_before_it() -> None:
    model = encoder()
    ids = torch.randint(0, TEXT.vocab_size, (1, 10))
    changed = ids.clone()
    changed[0, 6] = (ids[0, 6] + 1) % TEXT.vocab_size
    difference = (model(ids) - model(changed)).abs().amax(-1)[0]
    assert difference[:6].max() == 0
    assert difference[6:].min() > 0


def test_padding_does_not_change_the_words() -> None:
    model = encoder()
    ids = torch.randint(0, TEXT.vocab_size, (2, 32))
    short = model(ids[:, :5])
    torch.testing.assert_close(model(ids)[:, :5], short, atol=1e-5, rtol=1e-5)


def test_order_matters_and_texts_do_not_mix() -> None:
    model = encoder()
    ids = torch.tensor([[3, 7, 9], [7, 3, 9]])
    out = model(ids)
    assert (out[0, 2] - out[1, 2]).abs().max() > 1e-3
    torch.testing.assert_close(model(ids[1:]), out[1:], atol=1e-6, rtol=1e-5)


def test_holds_the_projection_every_checkpoint_has() -> None:
    assert "text_projection.weight" in dict(encoder().named_parameters())
