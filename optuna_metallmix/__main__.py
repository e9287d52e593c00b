"""Run the program as ``python -m optuna_metallmix``."""

import sys

from optuna_metallmix.cli import main


sys.exit(main())
