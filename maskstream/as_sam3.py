"""``import maskstream.as_sam3`` lets a program written for SAM 3 run unchanged, even its imports.

Put it before the first import of ``sam3``. It is refused where a package called sam3 is installed.
"""

from __future__ import annotations

from maskstream.pipeline.compat.standing_in import stand_in

stand_in()
