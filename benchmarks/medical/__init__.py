"""Train on real medical image sets: a single suggested training against whole searches.

The recipes and objectives are scripts in `examples/` and `studies/`, which are not packages;
importing this package puts both folders on the path.
"""

import sys

from benchmarks.paths import ROOT


sys.path[:0] = [str(ROOT / folder) for folder in ("examples", "studies")]
