"""held_out.py is imported as a script's sibling would be."""

import sys
from pathlib import Path


sys.path.insert(0, str(Path(__file__).resolve().parent))
