"""Loading a model computes nothing but what the checkpoint holds, and imports nothing for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from torch import nn

from maskstream.core.unfilled import unfilled


def test_shapes_without_values() -> None:
    with unfilled():
        net = nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 2), nn.Conv2d(1, 2, 3))
    assert all(parameter.is_meta for parameter in net.parameters())
    assert net[0].weight.shape == (3, 4)
    assert not nn.Linear(4, 2).weight.is_meta


def test_a_worker_that_loads_the_embedded_checkpoint_imports_neither_compiler_nor_hub() -> None:
    program = (
        "import sys; from maskstream.workers.models import ModelSpec; "
        "ModelSpec(device='cpu').load_tracker(); ModelSpec(device='cpu').load_detector(); "
        "print(sorted({'torch._dynamo', 'sympy', 'huggingface_hub'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
