"""Train libraries on tables that are left out of the shipped past, and search with the rest of it.

The recorder of the past is a script in `studies/`, which is not a package; importing this package
puts the folder on the path.
"""

import sys

from benchmarks.paths import ROOT


sys.path.insert(0, str(ROOT / "studies"))
