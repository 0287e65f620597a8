"""What measures: speed and memory, against the reference and over long streams, and quality."""

import maskstream  # noqa: F401 - before torch, whose threads it sets up
