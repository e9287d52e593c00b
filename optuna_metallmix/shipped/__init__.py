"""Past studies that come with the package, for storages that have none yet."""

from optuna_metallmix.shipped.packed_studies import pack_study
from optuna_metallmix.shipped.packed_studies import read_studies
from optuna_metallmix.shipped.parameters import CHOICES
from optuna_metallmix.shipped.parameters import LIBRARIES
from optuna_metallmix.shipped.parameters import PREFIX
from optuna_metallmix.shipped.parameters import describe_offer
from optuna_metallmix.shipped.parameters import find_libraries
from optuna_metallmix.shipped.parameters import past_name
from optuna_metallmix.shipped.storage import ShippedPast
from optuna_metallmix.shipped.storage import shipped_past


__all__ = [
    "CHOICES",
    "LIBRARIES",
    "PREFIX",
    "ShippedPast",
    "describe_offer",
    "find_libraries",
    "pack_study",
    "past_name",
    "read_studies",
    "shipped_past",
]
