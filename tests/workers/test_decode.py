"""Decode workers are many, so they are small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_decoding_needs_no_torch() -> None:
    program = (
        "import sys, maskstream.workers.decode, maskstream.pipeline.runtime.feeding; "
        "print(sorted({'torch', 'ray'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
