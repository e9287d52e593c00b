"""number -> decimals, as people and models read them: no exponent, and never without end.

Shown ``2.39e-02``, small models write ``2.39e-0`` (measured while planning). A number whose
decimals would be mostly zeros (1e-300) is told as a power of ten instead of being cut short.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np


MAX_DIGITS = 24
"""Longest text of decimals: 2**63 and 1e-20 fit."""


def format_number(value: Any, digits: int = 4) -> str:
    """Write a number with ``digits`` significant digits (whole numbers with all)."""
    number = value.item() if isinstance(value, np.generic) else value
    if not (isinstance(number, int) or math.isfinite(number)):
        return str(number)
    if isinstance(number, int) or (abs(number) < 1e15 and number.is_integer()):
        whole = int(number)
        return str(whole) if abs(whole) < 10**MAX_DIGITS else _power(Decimal(whole), digits)
    text = np.format_float_positional(number, precision=digits, fractional=False, trim="-")
    return text if len(text) <= MAX_DIGITS else _power(Decimal(number), digits)


def format_exactly(value: float) -> str:
    """Write a finite number with all digits that tell it from every other."""
    text = np.format_float_positional(value, trim="-")
    return text if len(text) <= MAX_DIGITS else _power(Decimal(repr(float(value))))


def _power(value: Decimal, digits: int | None = None) -> str:
    written = f"{value:e}" if digits is None else f"{value:.{digits - 1}e}"
    mantissa, _, exponent = written.partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}x10^{int(exponent)}"
