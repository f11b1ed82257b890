"""Exponentials, logarithms and their like in machine code, against numbers of more digits."""

import importlib.util

import mpmath
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None, reason="Numba is not installed"
)

DTYPES = ("float32", "float64")
# The largest error, in units in the last place, that was found.
MOST = {"exp": 1.0, "expm1": 1.4, "tanh": 1.6, "log": 0.9, "log1p": 0.9}


@pytest.fixture(scope="module", params=[f"{name}_{dtype}" for name in MOST for dtype in DTYPES])
def compiled(request):
    """A function over an array, and its name and dtype."""
    import numba

    from npnn.backends.cpu import functions

    function = getattr(functions, request.param)

    @numba.njit("void({0}[::1], {0}[::1])".format(request.param.split("_")[1]))
    def each(x, y):
        for i in range(len(x)):
            y[i] = function(x[i])

    return each, *request.param.split("_")


def results(each, x):
    y = np.empty_like(x)
    each(x, y)
    return y


def arguments(name, dtype):
    """Return numbers of all sizes, and many where the function bends and where it ends."""
    rng, info = np.random.default_rng(0), np.finfo(dtype)
    bits = rng.integers(0, 1 << info.bits, 200_000, dtype=np.uint64)
    everywhere = bits.astype(f"uint{info.bits}").view(dtype)
    ends = np.log([info.smallest_subnormal, info.smallest_normal, info.max]).astype(dtype)
    near = [np.nextafter(x, dtype(side)) for x in ends for side in (-np.inf, np.inf)]
    denormal = info.smallest_subnormal * np.arange(1, 50, dtype=dtype)
    spans = [(ends[0] - 2, ends[2] + 2), (-2, 2), (-0.1, 0.1), (0.5, 2), (-40, 40)]
    dense = [rng.uniform(*span, 200_000).astype(dtype) for span in spans]
    return np.concatenate([everywhere, ends, near, denormal, -denormal, *dense])


def exact(name, x):
    """Return results with 11 more bits than float64 has, or 40 more than float32."""
    with np.errstate(all="ignore"):
        return getattr(np, name)(x.astype(np.longdouble if x.dtype == np.float64 else np.float64))


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="no numbers of more digits")
def test_results_are_right_to_the_last_digit_or_two(compiled):
    each, name, dtype = compiled
    dtype = np.dtype(dtype).type
    x = arguments(name, dtype)
    y, right = results(each, x), exact(name, x)
    with np.errstate(all="ignore"):
        rounded = right.astype(dtype)
        finite = np.isfinite(rounded) & np.isfinite(y)
        np.testing.assert_array_equal(y[~finite], rounded[~finite])
        errors = np.abs(y.astype(right.dtype) - right)[finite]
    assert (errors / np.abs(np.spacing(rounded[finite]))).max() <= MOST[name]


def test_they_are_right_where_the_reference_counts_with_a_hundred_digits(compiled):
    each, name, dtype = compiled
    dtype = np.dtype(dtype).type
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.uniform(0.01, 3.0, 300), rng.uniform(-0.9, 0.0, 100)]).astype(dtype)
    x = np.abs(x) if name == "log" else x
    with mpmath.workdps(100):
        right = [getattr(mpmath, name)(mpmath.mpf(float(v))) for v in x]
        errors = [
            abs(mpmath.mpf(float(v)) - r) for v, r in zip(results(each, x), right, strict=True)
        ]
        ulps = [
            float(e) / np.spacing(abs(dtype(float(r)))) for e, r in zip(errors, right, strict=True)
        ]
    assert max(ulps) <= MOST[name]


def test_what_is_no_number_or_has_no_size_gives_what_it_gives_in_numpy(compiled):
    each, name, dtype = compiled
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -1.0, -2.0, 1.0, -1e30, 1e30], dtype)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x)
    y = results(each, x)
    np.testing.assert_allclose(y, expected, rtol=3 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(np.signbit(y[y == 0]), np.signbit(expected[y == 0]))


def test_several_are_computed_at_once(compiled):
    each, _, _ = compiled
    [code] = each.inspect_asm().values()
    packed = ("mulps", "mulpd") if "xmm" in code else ("fmul.4s", "fmul.2d", "fmul\tv")
    assert any(word in code for word in packed)


@pytest.mark.parametrize(
    ("name", "word"), [("added", "add"), ("larger", "max"), ("smaller", "min")]
)
def test_several_numbers_are_taken_in_at_once(name, word):
    import numba

    from npnn.backends.cpu import functions

    take_in = getattr(functions, name)

    @numba.njit("float32(float32[::1])")
    def over_all(x):
        result = x[0]
        for i in range(1, len(x)):
            result = take_in(result, x[i])
        return result

    x = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    right = {"added": x.sum(), "larger": x.max(), "smaller": x.min()}[name]
    np.testing.assert_allclose(over_all(x), right, rtol=1e-5)
    [code] = over_all.inspect_asm().values()
    assert f"{word}ps" in code or ".4s" in code
