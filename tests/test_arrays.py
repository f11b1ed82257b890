"""Shapes as the user writes them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npnn.arrays import as_shape


def test_a_shape_may_be_an_int_a_tuple_or_a_list():
    assert as_shape(3, "shape") == (3,)
    assert as_shape((3, 4), "shape") == (3, 4)
    assert as_shape([3, 4], "shape") == (3, 4)


def test_ints_of_numpy_become_plain_ints():
    (axis,) = as_shape(np.int64(3), "shape")
    assert type(axis) is int


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=5))
def test_any_positive_axes_come_back_as_they_are(axes):
    assert as_shape(axes, "shape") == tuple(axes)


@pytest.mark.parametrize("shape", [2.0, "2", None, True, (2, 2.5), (False,)])
def test_what_is_no_int_is_a_type_error_that_names_the_argument(shape):
    with pytest.raises(TypeError, match="shape_out must be an int or a tuple of ints"):
        as_shape(shape, "shape_out")


@pytest.mark.parametrize("shape", [0, -1, (3, 0), (-2,)])
def test_an_axis_that_is_not_positive_is_a_value_error_that_names_the_argument(shape):
    with pytest.raises(ValueError, match="shape_out must be positive"):
        as_shape(shape, "shape_out")


def test_a_shape_without_axes_is_refused():
    with pytest.raises(ValueError, match="at least one axis"):
        as_shape((), "shape_in")
