"""The clip that comes with the package, to try things on."""

from __future__ import annotations

from importlib.resources import files


def demo_clip() -> str:
    """The path of a video of eleven seconds, with emoji that the embedded checkpoint knows."""
    return str(files("maskstream.pipeline").joinpath("assets", "demo.mp4"))
