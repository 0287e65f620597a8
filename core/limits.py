"""Limits that hold wherever pictures, frames and masks come in."""

from __future__ import annotations

MAX_PIXELS = 2**26
"""The most pixels that a picture, a frame or a mask may have: 8192×8192. The size that a header
declares is compared with it, before anything is decoded."""
