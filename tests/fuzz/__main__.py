"""Whatever strangers send or write is taken, or refused with a reason that names it.

    python -m tests.fuzz [--seed 0] [--seconds 60]

Each target of ``targets.py`` gets an equal share of the time. Its examples follow from the seed
alone. Prints what was tried; an example that breaks a promise is made as small as it gets, printed,
and ends the run with exit code 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.targets import Target, targets

BATCH = settings(
    max_examples=50,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


def run_batch(target: Target, seed: str, answers: Counter[str]) -> None:
    """Try one batch of examples, and count how they were answered."""

    @hypothesis.seed(seed)
    @BATCH
    @given(target.examples)
    def try_one(example: object) -> None:
        answers[target.check(example)] += 1

    try_one()


def fuzz(target: Target, seed: int, seconds: float) -> Counter[str]:
    """Try batches until the time is over, one at least; how examples were answered."""
    answers: Counter[str] = Counter()
    end_s = time.monotonic() + seconds
    batch = 0
    while batch == 0 or time.monotonic() < end_s:
        run_batch(target, f"{seed} {target.name} {batch}", answers)
        batch += 1
    return answers


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    print(f"seed {options.seed}\n\n| target | examples | taken | refused |\n|---|---:|---:|---:|")
    with targets() as found:
        for target in found:
            answers = fuzz(target, options.seed, options.seconds / len(found))
            taken, refused = answers["taken"], answers["refused"]
            print(f"| {target.name} | {taken + refused} | {taken} | {refused} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
