"""examples/ and studies/ are folders of scripts, not packages: Python is told where they are."""

from __future__ import annotations

import sys
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("examples", "studies")]
