"""Boxes from one way of writing to another, by the names that SAM 3's notebooks use.

All are tensors (..., 4): ``xyxy`` are two corners, ``xywh`` the top left corner and the size,
``cxcywh`` the centre and the size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from maskstream.core.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh

box_cxcywh_to_xyxy = cxcywh_to_xyxy
box_xyxy_to_cxcywh = xyxy_to_cxcywh


def box_xywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Corner and size to corners."""
    return torch.cat((boxes[..., :2], boxes[..., :2] + boxes[..., 2:]), dim=-1)


def box_xyxy_to_xywh(boxes: Tensor) -> Tensor:
    """Corners to corner and size."""
    return torch.cat((boxes[..., :2], boxes[..., 2:] - boxes[..., :2]), dim=-1)


def box_xywh_to_cxcywh(boxes: Tensor) -> Tensor:
    """Corner and size to centre and size."""
    return torch.cat((boxes[..., :2] + boxes[..., 2:] / 2, boxes[..., 2:]), dim=-1)


def box_cxcywh_to_xywh(boxes: Tensor) -> Tensor:
    """Centre and size to corner and size."""
    return torch.cat((boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., 2:]), dim=-1)
