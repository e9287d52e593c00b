"""`python -m optuna_metallmix` is `optuna-metallmix`."""

import sys

from optuna_metallmix._cli import main


sys.exit(main())
