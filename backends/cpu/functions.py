"""Exponentials, logarithms and their like, and sums, in a form that compilers vectorise.

Numba has each computed by a call, one number after the other. Here an argument is reduced to a
small interval, where a polynomial of least error (by Remez exchange) stands for the function; no
result is off by more than 1.4 units in the last place (tanh: 1.6), and infinities, NaN, zeros and
denormals give what they give in NumPy. There are no branches: of two values one is chosen.

For each function and dtype there is one such as ``exp_float32``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from npnn.backends.cpu.numba_adapter import in_any_order, inlined, same_bits

# (e^r - 1 - r) / r^2 where |r| <= ln(2) / 2
EXPONENTIAL = {
    "float32": (0.5, 0.16666518, 0.041666202, 0.008368919, 0.0013950639),
    "float64": (
        0.5000000000000013, 0.166666666666667, 0.04166666666651494, 0.008333333333307063,
        0.001388888894715582, 0.0001984126991769265, 2.4801489785526957e-05,
        2.755721602807379e-06, 2.7631339945454134e-07, 2.5117945887410915e-08,
    ),
}  # fmt: skip
# (ln(q) / s - 2) / s^2 as a function of s^2, where q = (1 + s) / (1 - s) is 1/sqrt(2) to sqrt(2)
LOGARITHM = {
    "float32": (0.66666776, 0.39977497, 0.29873058),
    "float64": (
        0.6666666666666735, 0.3999999999941111, 0.285714287432593, 0.22222198476224614,
        0.18183569732552246, 0.15313903309495017, 0.14797508217555186,
    ),
}  # fmt: skip
# ln(2) in two parts: the first has so few digits that its product with an exponent is exact.
LN2 = {
    "float32": (0.693145751953125, 1.4286068203094172e-06),
    "float64": (0.6931471805598903, 5.497923018708371e-14),
}
# Where e^x becomes 0 and infinity; twice the x at which tanh(x) is 1, and 1 - e^-x.
LIMITS = {"float32": (-104.0, 89.0, 20.0), "float64": (-746.0, 710.0, 40.0)}
Function = Callable[[Any], Any]


def part(function: Callable[..., Any]) -> Any:
    """Return the same of a function that Python never calls, which is compiled in half the time."""
    return inlined(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def _better(sign: str) -> Any:
    """Return the function that takes in one more number, if it is better; no NaN."""
    flags = ("nnan", "nsz")

    def combine(builder: Any, a: Any, b: Any) -> Any:
        return builder.select(builder.fcmp_ordered(sign, a, b, flags=flags), a, b, flags=flags)

    return in_any_order(combine)


added = in_any_order(lambda builder, a, b: builder.fadd(a, b, flags=("reassoc",)))
larger, smaller = _better(">"), _better("<")


def polynomial(coefficients: tuple[float, ...], dtype: Any) -> Function:
    """Return the function of a polynomial, by Horner's rule."""
    names = {f"c{power}": dtype(c) for power, c in enumerate(coefficients)}
    nested = reduce(lambda inner, name: f"{name} + x * ({inner})", reversed(names))
    return part(eval(f"lambda x: {nested}", names))  # type: ignore[no-any-return]


def _functions(dtype: Any, integer: Any) -> dict[str, Function]:
    name = dtype.__name__
    info = np.finfo(dtype)
    digits, bias = integer(info.nmant), integer(info.maxexp - 1)
    half, one, two, infinity, nan = map(dtype, (0.5, 1, 2, np.inf, np.nan))
    # Added to a number, it rounds it to an integer, and leaves that in the last bits.
    shift = dtype(1.5 * 2.0**info.nmant)
    log2_e, ln2_high, ln2_low = map(dtype, (1 / np.log(2.0), *LN2[name]))
    lowest, highest, saturated = map(dtype, LIMITS[name])
    beyond_digits = dtype(64)  # 2 to minus that does not count beside 1
    of_exponential = polynomial(EXPONENTIAL[name], dtype)
    of_logarithm = polynomial(LOGARITHM[name], dtype)
    tiny, lifting = dtype(info.smallest_normal), dtype(2.0**64)
    root_half = integer(dtype(np.sqrt(0.5)).view(integer))
    to_root = integer(one.view(integer) - root_half)
    mantissa = integer((1 << info.nmant) - 1)
    exponent = integer(2 * info.maxexp - 1)
    as_float = dtype(2.0**info.nmant).view(integer)
    no_exponent = dtype(2.0**info.nmant + float(bias))

    @part
    def power_of_two(shifted: Any) -> Any:
        """Return 2 to the integer that lies in the last bits of a shifted number."""
        return same_bits(integer(integer(same_bits(shifted) + bias) << digits))

    @part
    def scaled(x: Any, n: Any) -> Any:
        """Return x times 2 to the n, in two steps: no number may be as large as that power."""
        shifted = n * half + shift
        return x * power_of_two(shifted) * power_of_two((n - (shifted - shift)) + shift)

    @part
    def reduced(x: Any) -> Any:
        """Return the n and r of e^x = 2^n e^r, and e^r - 1 - r."""
        n = (x * log2_e + shift) - shift
        exact, tail = x - n * ln2_high, n * ln2_low
        r = exact - tail
        return n, r, r * r * of_exponential(r) + ((exact - r) - tail)

    @inlined
    def exp(x: Any) -> Any:
        x = dtype(x)
        x = lowest if x < lowest else x
        x = highest if x > highest else x
        n, r, rest = reduced(x)
        return scaled(one + (r + rest), n)

    @part
    def expm1_of_reduced(n: Any, r: Any, rest: Any) -> Any:
        """Return (e^x - 1) / 2^n."""
        n = n if n < beyond_digits else beyond_digits
        return (r + (one - power_of_two(shift - n))) + rest

    @inlined
    def expm1(x: Any) -> Any:
        given = dtype(x)
        x = -saturated if given < -saturated else given
        x = highest if x > highest else x
        n, r, rest = reduced(x)
        y = scaled(expm1_of_reduced(n, r, rest), n)
        return y if given != 0 else given

    @inlined
    def tanh(x: Any) -> Any:
        x = dtype(x)
        size = abs(x)
        n, r, rest = reduced(two * size if two * size < saturated else saturated)
        power, start = power_of_two(n + shift), one - power_of_two(shift - n)
        high = r + start
        y = (high + rest) * power
        # y / (y + 2), near zero as x and what is missing to it; y - 2 x has more digits than y
        near = n < two
        beyond = (high * power - two * size) + ((r - (high - start)) + rest) * power
        y = (beyond - size * y if near else y) / (y + two)
        y = size + y if near else y
        return y if x > 0 else -y if x < 0 else x

    @part
    def log_and(x: Any, scale: Any, rest: Any) -> Any:
        """Return the logarithm of a normal number, less that of 2^scale, plus a small rest."""
        bits = integer(same_bits(x) + to_root)
        k = same_bits(integer(((bits >> digits) & exponent) | as_float)) - (no_exponent + scale)
        f = same_bits(integer((bits & mantissa) + root_half)) - one
        s = f / (two + f)
        z, square = s * s, half * f * f
        small = s * (square + z * of_logarithm(z)) + (k * ln2_low + rest)
        return k * ln2_high - ((square - small) - f)

    @inlined
    def log(x: Any) -> Any:
        x = dtype(x)
        denormal = x < tiny
        y = log_and(
            x * lifting if denormal else x, beyond_digits if denormal else dtype(0), dtype(0)
        )
        y = y if x < infinity else x
        return y if x > 0 else -infinity if x == 0 else nan

    @inlined
    def log1p(x: Any) -> Any:
        x = dtype(x)
        u = one + x
        lost = one - (u - x) if u > two else x - (u - one)
        y = log_and(u, dtype(0), lost / u)
        y = y if x < infinity else x
        y = y if x != 0 else x
        return y if u > 0 else -infinity if u == 0 else nan

    found = {"exp": exp, "expm1": expm1, "tanh": tanh, "log": log, "log1p": log1p}
    return {f"{function}_{name}": compiled for function, compiled in found.items()}


FUNCTIONS = {**_functions(np.float32, np.int32), **_functions(np.float64, np.int64)}
globals().update(FUNCTIONS)
