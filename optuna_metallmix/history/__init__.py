"""Open, read and rank past studies; nothing is written to them."""

from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import describe_unknown
from optuna_metallmix.history.history import own_features
from optuna_metallmix.history.history import read_history
from optuna_metallmix.history.history import read_past
from optuna_metallmix.history.history import rename_study
from optuna_metallmix.history.history import study_names
from optuna_metallmix.history.history import with_own_trials
from optuna_metallmix.history.meta_features import MetaFeatures
from optuna_metallmix.history.meta_features import distances
from optuna_metallmix.history.meta_features import image_meta_features
from optuna_metallmix.history.meta_features import scalar_features
from optuna_metallmix.history.names import check_aliases
from optuna_metallmix.history.names import describe_renamed
from optuna_metallmix.history.names import find_renamed
from optuna_metallmix.history.names import rename
from optuna_metallmix.history.names import unknown_names
from optuna_metallmix.history.open_storage import Source
from optuna_metallmix.history.open_storage import open_source
from optuna_metallmix.history.scores import PastStudy
from optuna_metallmix.history.scores import PastTrial
from optuna_metallmix.history.similarity import BY_FEATURES
from optuna_metallmix.history.similarity import BY_RESULTS
from optuna_metallmix.history.similarity import StudyDistances
from optuna_metallmix.history.similarity import study_distances
from optuna_metallmix.history.study_reader import BEYOND_BOUNDS
from optuna_metallmix.history.study_reader import read_storage
from optuna_metallmix.history.tabular_datasets import tabular_meta_features


__all__ = [
    "BEYOND_BOUNDS",
    "BY_FEATURES",
    "BY_RESULTS",
    "History",
    "MetaFeatures",
    "PastStudy",
    "PastTrial",
    "Source",
    "StudyDistances",
    "check_aliases",
    "describe_renamed",
    "describe_unknown",
    "distances",
    "find_renamed",
    "image_meta_features",
    "open_source",
    "own_features",
    "read_history",
    "read_past",
    "read_storage",
    "rename",
    "rename_study",
    "scalar_features",
    "study_distances",
    "study_names",
    "tabular_meta_features",
    "unknown_names",
    "with_own_trials",
]
