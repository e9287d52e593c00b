"""`python -m optuna_metallmix` is `optuna-metallmix`."""

import sys

from optuna_metallmix.cli import main


sys.exit(main())
