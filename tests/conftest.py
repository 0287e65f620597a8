"""What all tests share: few threads, fixed seeds, and no network."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Before huggingface_hub is imported, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"

import hypothesis
import numpy as np
import pytest
import torch

# Tests that run side by side have a thread each: threads that wait for each other on a busy machine
# take many times as long as one.
NUM_THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
torch.set_num_threads(NUM_THREADS)

# The same examples on every run; per-test time-outs are pytest's.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _same_start() -> Iterator[None]:
    torch.manual_seed(0)
    np.random.seed(0)
    yield
    torch.set_num_threads(NUM_THREADS)


@pytest.fixture
def two_threads() -> None:
    """For what has to be the same however a product is shared out among threads."""
    torch.set_num_threads(2)
