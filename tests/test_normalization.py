"""The map that brings raw inputs to unit scale."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npnn
from npnn import Normalization

TABLES = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6),
    elements=st.integers(-(10**6), 10**6).map(lambda n: n / 64),  # sums of these are exact
)


@given(x=TABLES)
def test_standard_gives_mean_zero_and_deviation_one_or_zero_where_nothing_varies(x):
    y = Normalization.standard(x)(x)
    varies = x.min(axis=0) != x.max(axis=0)
    np.testing.assert_allclose(y.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(y[:, varies].std(axis=0), 1.0, rtol=1e-9)


@given(x=TABLES)
def test_min_max_gives_the_range_from_minus_one_to_one_or_zero_where_nothing_varies(x):
    y = Normalization.min_max(x)(x)
    varies = x.min(axis=0) != x.max(axis=0)
    np.testing.assert_allclose(y[:, varies].min(axis=0), -1.0, atol=1e-12)
    np.testing.assert_allclose(y[:, varies].max(axis=0), 1.0, atol=1e-12)
    np.testing.assert_array_equal(y[:, ~varies], 0.0)


@pytest.mark.parametrize("unit", [1e-300, 1e-160, 1e-30, 1.0, 1e30, 1e160, 1e300])
def test_the_unit_of_numbers_makes_no_difference_to_what_they_become(unit):
    x = np.random.default_rng(0).normal(size=(50, 3))
    w = np.random.default_rng(1).random(50)
    for weights in (None, w):
        expected = Normalization.standard(x, weights)(x)
        np.testing.assert_allclose(Normalization.standard(unit * x, weights)(unit * x), expected)


def test_samples_count_by_their_weights():
    x = 1e6 + np.random.default_rng(0).normal(size=(20, 2, 3))
    w = np.arange(20) % 4
    norm, expected = Normalization.standard(x, w), Normalization.standard(np.repeat(x, w, axis=0))
    np.testing.assert_allclose(norm.offset, expected.offset, rtol=1e-14)
    np.testing.assert_allclose(norm.scale, expected.scale, rtol=1e-9)
    for wrong in (w[:-1], -w, 0 * w, [np.nan] * 20, "many"):
        with pytest.raises((ValueError, TypeError), match=r"^w"):
            Normalization.standard(x, wrong)


@given(x=TABLES)
def test_the_inverse_gives_the_raw_inputs_back(x):
    for norm in (Normalization.standard(x), Normalization.min_max(x), Normalization(3.0, 0.25)):
        np.testing.assert_allclose(norm.inverse(norm(x)), x, atol=1e-9)


def test_a_feature_that_never_varies_becomes_zero_whatever_its_value():
    x = np.full((1000, 1), 5.863372815313004)
    np.testing.assert_allclose(Normalization.standard(x)(x), 0.0, atol=1e-9)


def test_features_have_offsets_and_scales_of_their_own(backend):
    norm = Normalization(offset=[1.0, 2.0], scale=[2.0, 0.0])
    x = backend.asarray([[3.0, 2.0], [1.0, 5.0]])
    np.testing.assert_array_equal(backend.to_numpy(norm(x)), [[1.0, 0.0], [0.0, 3.0]])
    np.testing.assert_array_equal(backend.to_numpy(norm.inverse(norm(x))), backend.to_numpy(x))


def test_an_array_stays_in_its_library_and_dtype(backend, backend32):
    norm = Normalization(offset=[1.0, 2.0], scale=3.0)
    for there in (backend, backend32, backend):
        y = norm(there.asarray([[3.0, 2.0]]))
        assert there.owns(y)
        assert y.dtype == there.dtype


def test_lists_are_taken_as_they_are():
    y = Normalization.standard([[1.0, 10.0], [3.0, 30.0]])([[1, 30]])
    np.testing.assert_array_equal(y, [[-1.0, 1.0]])


def test_integer_images_are_normalised_without_overflow():
    x = np.array([[0, 255]], dtype=np.uint8)
    np.testing.assert_allclose(Normalization(-10.0, 255.0)(x), [[10 / 255, 265 / 255]])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, float("-inf")]])
def test_numbers_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="must be finite"):
        Normalization(offset=value)
    with pytest.raises(ValueError, match="must be finite"):
        Normalization(scale=value)


def test_a_map_survives_its_config_and_is_equal_to_its_like():
    norm = Normalization([1.0, 2.0], [3.0, 4.0])
    again = Normalization(**norm.to_config())
    assert again == norm
    assert hash(again) == hash(norm)
    assert again != Normalization([1.0, 2.0], [3.0, 5.0])
    assert norm != "Normalization"
    assert repr(norm) == "Normalization(offset=[1.0, 2.0], scale=[3.0, 4.0])"


def test_a_norm_of_a_model_within_another_one_is_no_norm_of_that():
    inner = npnn.Sequential([npnn.Dense(2, 3)], seed=0)
    inner.norm = npnn.Normalization(5.0, 2.0)
    around = npnn.Sequential([inner])
    outer = npnn.Sequential([around, npnn.Dense(3, 1)])
    x = np.ones((4, 2))
    for use in (outer.predict, lambda x: outer.fit(x, x[:, :1], epochs=1)):
        with pytest.raises(ValueError, match=r"model.layers\[0\].layers\[0\] has a norm, but as a"):
            use(x)
    outer.norm = inner.norm
    np.testing.assert_allclose(around.forward((x - 5.0) / 2.0), inner.predict(x), rtol=1e-6)
    assert outer.predict(x).shape == (4, 1)
