"""What is derived from parameters is computed once, and anew whenever one of them changes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from maskstream.core.derived import Derived


class Doubled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3))
        self.doubled: Derived[Tensor] = Derived()
        self.num_computed = 0

    def forward(self) -> Tensor:
        return self.doubled.of((self.weight,), self._double)

    def _double(self) -> Tensor:
        self.num_computed += 1
        return 2 * self.weight


def load_other(module: Doubled) -> None:
    module.load_state_dict(Doubled().state_dict())


def make_step(module: Doubled) -> None:
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    with torch.enable_grad():
        module.weight.sum().backward()
    optimizer.step()


def write(module: Doubled) -> None:
    module.weight.zero_()


def exchange(module: Doubled) -> None:
    module.weight = nn.Parameter(torch.randn(3))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("change", [load_other, make_step, write, exchange, nn.Module.double])
def test_computed_once_until_the_source_changes(
    mode: Callable[[], Callable[..., None]], change: Callable[[Doubled], None]
) -> None:
    module = Doubled()
    with mode():  # type: ignore[attr-defined]
        assert module() is module()
    assert module.num_computed == 1
    with torch.no_grad():
        change(module)
        assert torch.equal(module(), 2 * module.weight)
        assert module.num_computed == 2
        assert module() is module()
    assert not module().is_inference()


def test_gradients_flow_where_they_are_wanted() -> None:
    module = Doubled()
    with torch.inference_mode():
        module()
    module().sum().backward()  # type: ignore[no-untyped-call]
    assert module.weight.grad is not None
    assert module.weight.grad.tolist() == [2.0] * 3


def test_tensors_without_versions_are_not_trusted() -> None:
    with torch.inference_mode():
        module = Doubled()
        first = module()
        module.weight.zero_()
        assert first.any()
        assert not module().any()


@pytest.mark.parametrize("again", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_keep_nothing(again: Callable[[Doubled], Doubled]) -> None:
    module = Doubled()
    with torch.no_grad():
        module()
        twin = again(module)
        write(module)
        assert twin().any()
        assert twin.num_computed == 2
