"""A layer that is a part of itself has no output: it is refused when it is put together."""

import pytest

import npnn
from npnn.layers import Parallel, Residual


def model():
    return npnn.Sequential([npnn.Dense(2, 2)], seed=0)


WITHIN = {
    "itself": lambda model: model,
    "a model": lambda model: npnn.Sequential([model]),
    "a model in a model": lambda model: npnn.Sequential([npnn.Sequential([model])]),
    "Parallel": lambda model: Parallel([npnn.Dense(2, 2), model]),
    "a branch of Parallel": lambda model: Parallel([[npnn.Tanh(), model]]),
    "Residual": lambda model: Residual([npnn.Tanh(), model]),
}


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("place", WITHIN)
def test_a_model_is_no_part_of_itself(place, built):
    outer = model() if built else npnn.Sequential()
    before = outer.layers
    with pytest.raises(ValueError, match="layer 1 must not be, or hold, the Sequential"):
        outer.layers = [npnn.Tanh(), WITHIN[place](outer)]
    assert outer.layers == before
    if built:
        assert outer.predict([[1.0, 2.0]]).shape == (1, 2)


def test_a_model_within_a_model_does_not_hold_that():
    inner = model()
    outer = npnn.Sequential([inner])
    with pytest.raises(ValueError, match="layer 0 must not be"):
        inner.layers = [outer]
    assert outer.predict([[1.0, 2.0]]).shape == (1, 2)


def test_a_layer_that_was_made_a_part_of_itself_is_refused_by_a_model():
    residual, parallel = Residual([npnn.Dense(2, 2)]), Parallel([npnn.Dense(2, 2)])
    vars(residual)["layers"] = residual
    parallel.branches.append(npnn.layers.Residual([parallel]).layers)
    for layer in (residual, parallel):
        with pytest.raises(ValueError, match=r"layer 1\.\S+, \w+, is a part of itself"):
            npnn.Sequential([npnn.Dense(2, 2), layer])


def test_a_layer_may_stand_in_several_places():
    dense = npnn.Dense(2, 2)
    twice = npnn.Sequential(
        [dense, Parallel([dense, [npnn.Tanh(), dense]]), npnn.Dense(4, 2), dense]
    )
    assert twice.predict([[1.0, 2.0]]).shape == (1, 2)
