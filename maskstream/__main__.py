"""``python -m maskstream`` is the command ``maskstream``."""

from __future__ import annotations

import sys

from maskstream.pipeline.cli.main import main

sys.exit(main())
