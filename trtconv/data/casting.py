"""Values from one type to another, with an eye on what the other type cannot hold: width, sign, range and fraction."""

from __future__ import annotations

import ml_dtypes
import numpy as np

_SMALL_FLOATS = (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn)


def is_float(dtype: np.dtype) -> bool:
    """Whether a type holds fractions."""
    return dtype.kind == "f" or dtype in _SMALL_FLOATS


def may_hold(have: np.dtype, want: np.dtype) -> bool:
    """Whether a conversion is meant or can be exact (values decide later); never from fractions to whole numbers."""
    if have == want:
        return True
    numeric = have.kind in "iufb" or is_float(have)
    return numeric and (is_float(want) or (not is_float(have) and want.kind != "b"))


def cast(values: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, bool]:
    """Values in another type, and whether that holds them: whole numbers exactly, fractions after rounding.

    Fractions beyond the type's range become infinity or NaN, as NumPy makes them; that is left to the caller to find.

    Args:
        values: of a type that the other one may hold, see ``may_hold``.
        dtype: the other one.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        made = values.astype(dtype)
    same = is_float(values.dtype) or values.dtype == dtype or not values.size
    return made, same or _same_integers(values, made)


def _same_integers(values: np.ndarray, made: np.ndarray) -> bool:
    """Whether whole numbers came through. Going back would not tell: it undoes a change of the sign, too."""
    low, high = int(values.min()), int(values.max())
    if not is_float(made.dtype):
        return low >= np.iinfo(made.dtype).min and high <= np.iinfo(made.dtype).max
    exact = 2 ** (ml_dtypes.finfo(made.dtype).nmant + 1)  # up to here a float holds every whole number
    if -exact <= low and high <= exact:
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        wide = made.astype(np.float64)
        inside = np.isfinite(wide) & (wide >= float(np.iinfo(values.dtype).min)) & (wide < 2.0 ** _bits(values.dtype))
        return bool((inside & (np.where(inside, wide, 0).astype(values.dtype) == values)).all())


def _bits(dtype: np.dtype) -> int:
    """Whole numbers of a type are less than 2 to the power of this."""
    return int(np.iinfo(dtype).max).bit_length()
