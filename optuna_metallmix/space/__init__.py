"""Search spaces: which values a parameter may have, how they are written and encoded."""

from optuna_metallmix.space.choices import value_key
from optuna_metallmix.space.search_space import ABSENT
from optuna_metallmix.space.search_space import Config
from optuna_metallmix.space.search_space import SearchSpace
from optuna_metallmix.space.search_space import bounds_of
from optuna_metallmix.space.search_space import choices_of
from optuna_metallmix.space.search_space import config_key
from optuna_metallmix.space.search_space import contains
from optuna_metallmix.space.search_space import describe
from optuna_metallmix.space.search_space import from_json
from optuna_metallmix.space.search_space import from_record
from optuna_metallmix.space.search_space import from_unit
from optuna_metallmix.space.search_space import has_json_choices
from optuna_metallmix.space.search_space import is_continuous
from optuna_metallmix.space.search_space import is_number
from optuna_metallmix.space.search_space import is_ordered
from optuna_metallmix.space.search_space import json_schema
from optuna_metallmix.space.search_space import label_of
from optuna_metallmix.space.search_space import labels_of
from optuna_metallmix.space.search_space import merge_spaces
from optuna_metallmix.space.search_space import middle
from optuna_metallmix.space.search_space import perturb
from optuna_metallmix.space.search_space import project
from optuna_metallmix.space.search_space import sample
from optuna_metallmix.space.search_space import to_record
from optuna_metallmix.space.search_space import to_unit
from optuna_metallmix.space.search_space import to_units


__all__ = [
    "ABSENT",
    "Config",
    "SearchSpace",
    "bounds_of",
    "choices_of",
    "config_key",
    "contains",
    "describe",
    "from_json",
    "from_record",
    "from_unit",
    "has_json_choices",
    "is_continuous",
    "is_number",
    "is_ordered",
    "json_schema",
    "label_of",
    "labels_of",
    "merge_spaces",
    "middle",
    "perturb",
    "project",
    "sample",
    "to_record",
    "to_unit",
    "to_units",
    "value_key",
]
