"""One seed of `make archive-proof`: the whole is too long for every change."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(900)
def test_one_seed() -> None:
    proof = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.archive_proof",
            "--seed",
            "5",
            "--runs",
            "1",
            "--videos",
            "2",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert proof.returncode == 0, proof.stdout + proof.stderr
