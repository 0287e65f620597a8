"""A linear layer that runs on oneDNN when nothing has to be differentiated on the CPU.

PyTorch hands float32 matrix products on the CPU to MKL, which on AMD processors uses half of the
vector width: 200 GFLOP/s against oneDNN's 450 on two Zen 5 cores, measured at 6400×64×256.
Convolutions already go through oneDNN; this takes the linear layers there too. Results differ
only in rounding.

oneDNN has one more virtue: a row's result is the same to the last bit whatever other rows there
are, from two rows on. MKL rounds differently with 1, 2, 3 or more rows, and with more threads. So
all layers go through oneDNN, small ones as well, and a single row goes together with a copy of
itself: what is found of one object does not depend on how many others there are.

oneDNN wants weights in a layout of its own. Made anew in every call that takes 20 µs of 50 where
there are few rows, so the layers keep it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskstream.core.derived import Derived

MAX_PACKED_BYTES = 1 << 20
"""Weights above this keep torch's layout alone: they would be in memory twice, and with so much to
multiply another layout is soon made."""

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def is_cpu_inference(x: Tensor) -> bool:
    """Whether ``x`` is float32 on a CPU with oneDNN, and nothing is to be differentiated."""
    cpu = x.device.type == "cpu" and x.dtype is torch.float32
    return cpu and HAS_ONEDNN and not torch.is_grad_enabled()


def packed(weight: Tensor) -> Tensor:
    """A weight as :func:`linear` takes it with the least to do, for inference.

    Args:
        weight: (out, in), of any strides.

    Returns:
        A tensor in oneDNN's own layout, for small float32 weights on a CPU; else contiguous.
    """
    small = weight.numel() * weight.element_size() <= MAX_PACKED_BYTES
    if not small or not is_cpu_inference(weight):
        return weight.contiguous()
    out: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
    return out


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """``x @ weight.T + bias`` as ``torch.nn.functional.linear``, by the fastest kernel there is.

    Args:
        x: (..., in).
        weight: (out, in), or what :func:`packed` has made of it.
        bias: (out,) or None.
        relu: clamp the result at 0, in the same pass where the kernel can.
    """
    if x.numel() == 0 and weight.is_mkldnn:
        return x.new_zeros(*x.shape[:-1], weight.shape[0])
    if is_cpu_inference(x) and weight.dtype is torch.float32 and x.numel() > 0:
        # A strided weight would send oneDNN to its reference loops, a hundred times slower.
        weight = weight if weight.is_mkldnn else weight.contiguous()
        alone = x.numel() == x.shape[-1]
        rows = x.reshape(1, -1).expand(2, -1) if alone else x
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, weight, bias, "relu" if relu else "none", [], ""
        )
        return out[0].view(*x.shape[:-1], -1) if alone else out
    # Under autocast, inputs may be of another dtype than a weight that is packed.
    out = functional.linear(x, weight.to_dense() if weight.is_mkldnn else weight, bias)
    return out.relu() if relu else out


def products(rows: Tensor, others: Tensor) -> Tensor:
    """``rows @ others.mT`` of each of K pairs.

    For inference on the CPU pair by pair through :func:`linear`, so that none depends on how many
    there are; else as one batch.

    Args:
        rows: (K, N, C).
        others: (K, M, C).

    Returns:
        (K, N, M).
    """
    if not is_cpu_inference(rows) or not len(rows):
        return rows @ others.mT
    return torch.stack([linear(a, b) for a, b in zip(rows, others, strict=True)])


class Linear(nn.Linear):
    """``torch.nn.Linear`` through :func:`linear`; same parameters, same names."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        self._packed: Derived[Tensor] = Derived()

    def forward(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """(..., in) to (..., out); ``relu`` as for :func:`linear`."""
        return linear(x, self._weight(), self.bias, relu=relu)

    def without_bias(self, x: Tensor) -> Tensor:
        """The product alone."""
        return linear(x, self._weight())

    def _weight(self) -> Tensor:
        return self._packed.of((self.weight,), lambda: packed(self.weight))
