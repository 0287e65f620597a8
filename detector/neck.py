"""The neck: four maps of different scale out of the ViT's one."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from maskstream.core.derived import Derived
from maskstream.core.layers import Pointwise
from maskstream.core.linear import is_cpu_inference, linear
from maskstream.detector.config import VisionConfig
from maskstream.detector.vit import ViT


class NeckLevel(nn.Module):
    """Scale the ViT's map by 4, 2, 1 or 0.5 and project it."""

    def __init__(self, in_channels: int, out_channels: int, scale: float) -> None:
        super().__init__()
        half, quarter = in_channels // 2, in_channels // 4
        if scale == 4.0:
            layers: list[nn.Module] = [
                nn.ConvTranspose2d(in_channels, half, kernel_size=2, stride=2),
                nn.GELU(),
                nn.ConvTranspose2d(half, quarter, kernel_size=2, stride=2),
            ]
            channels = quarter
        elif scale == 2.0:
            layers = [nn.ConvTranspose2d(in_channels, half, kernel_size=2, stride=2)]
            channels = half
        else:
            layers = [] if scale == 1.0 else [nn.MaxPool2d(kernel_size=2, stride=2)]
            channels = in_channels
        self.scale_layers = nn.ModuleList(layers)
        self.proj1 = Pointwise(channels, out_channels)
        self.proj2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1)
        self._merged: Derived[tuple[Tensor, Tensor]] = Derived()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to (B, out_channels, scale · h, scale · w)."""
        for layer in self.scale_layers:
            x = layer(x)
        narrow = x.shape[1] <= self.proj1.out_channels and 1 not in x.shape[2:]
        if narrow and is_cpu_inference(x):
            return self._project_at_once(x)
        out: Tensor = self.proj2(self.proj1(x))
        return out

    def _project_at_once(self, x: Tensor) -> Tensor:
        """Both projections as one convolution, which is less where ``x`` has few channels.

        The first one's bias spreads like a map that is the same everywhere, of which the second
        sees less along the border.
        """
        sources = [*self.proj1.parameters(), *self.proj2.parameters()]
        weight, spread = self._merged.of(sources, self._merge)
        middle = spread[..., 1:2, 1:2]
        out: Tensor = functional.conv2d(x, weight, middle.flatten(), padding=1)
        less = spread - middle
        out[..., 0, 1:-1] += less[..., 0, 1:2]
        out[..., -1, 1:-1] += less[..., 2, 1:2]
        out[..., 1:-1, 0] += less[..., 1:2, 0]
        out[..., 1:-1, -1] += less[..., 1:2, 2]
        out[..., :: out.shape[2] - 1, :: out.shape[3] - 1] += less[..., ::2, ::2]
        return out

    def _merge(self) -> tuple[Tensor, Tensor]:
        """The weight of both, and what the biases give in nine cells: corners, edges, middle."""
        first, second = self.proj1, self.proj2
        inner = first.weight.flatten(1)
        weight = linear(second.weight.permute(0, 2, 3, 1), inner.t()).permute(0, 3, 1, 2)
        nothing = inner.new_zeros(1, inner.shape[1], 3, 3)
        return weight, second(first(nothing))


class Neck(nn.Module):
    """One branch: the levels 4×, 2×, 1× and 0.5× of the patch grid, fine to coarse."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fpn_layers = nn.ModuleList(
            NeckLevel(config.backbone_config.hidden_size, config.fpn_hidden_size, scale)
            for scale in config.scale_factors
        )

    def forward(self, x: Tensor, num_levels: int = 3) -> tuple[Tensor, ...]:
        """Compute the finest ``num_levels`` levels of (B, C, h, w).

        The released model computes the 0.5× level and drops it (``scalp=1``), hence three.
        """
        return tuple(level(x) for level in self.fpn_layers[:num_levels])


class VisionEncoder(nn.Module):
    """ViT and the detector's branch of the neck."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.backbone = ViT(config.backbone_config)
        self.neck = Neck(config)
