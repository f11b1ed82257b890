"""How weights are drawn: variances, orthogonality, and the same on every backend."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import by_name, host_parameters, package_classes

import npnn
from npnn import backends, initializers

INITIALIZERS = package_classes(initializers.Initializer.registry, initializers.Initializer)

# The variance of each scaled family for fan_in = 30 and fan_out = 50.
VARIANCES = {
    "GlorotNormal": 2.0 / 80.0,
    "GlorotUniform": 2.0 / 80.0,
    "HeNormal": 2.0 / 30.0,
    "HeUniform": 2.0 / 30.0,
    "LeCunNormal": 1.0 / 30.0,
    "LeCunUniform": 1.0 / 30.0,
    "Orthogonal": None,
    "Constant": None,
}


@pytest.mark.parametrize("kind", INITIALIZERS, ids=by_name)
def test_a_scaled_family_has_its_mean_and_variance(kind):
    if kind.__name__ not in VARIANCES:
        pytest.fail(f"{kind.__name__} is new: add it to the table in {__file__}")
    variance = VARIANCES[kind.__name__]
    if variance is None:
        return
    drawn = kind()(np.random.default_rng(0), (400, 500), 30, 50)
    assert drawn.dtype == np.float64
    # Both standard errors are below a third of a per cent at 200000 samples.
    assert drawn.mean() == pytest.approx(0.0, abs=0.01 * math.sqrt(variance))
    assert drawn.var() == pytest.approx(variance, rel=0.015)
    if kind.__name__.endswith("Uniform"):
        assert np.abs(drawn).max() <= math.sqrt(3.0 * variance)
    else:
        fourth = np.mean((drawn / math.sqrt(variance)) ** 4)
        assert fourth == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize(
    ("name", "in_torch"),
    [
        ("GlorotNormal", torch.nn.init.xavier_normal_),
        ("GlorotUniform", torch.nn.init.xavier_uniform_),
        ("HeNormal", lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="relu")),
        ("HeUniform", lambda w: torch.nn.init.kaiming_uniform_(w, nonlinearity="relu")),
        ("LeCunNormal", lambda w: torch.nn.init.kaiming_normal_(w, nonlinearity="linear")),
        ("LeCunUniform", lambda w: torch.nn.init.kaiming_uniform_(w, nonlinearity="linear")),
    ],
)
def test_a_dense_layer_has_the_spread_that_torch_gives_the_same_one(name, in_torch):
    layer = npnn.Dense(300, 500, initializer=name)
    layer.build(300, np.random.default_rng(0))
    torch.manual_seed(0)
    theirs = in_torch(torch.empty(500, 300)).numpy()
    assert layer.w.std() == pytest.approx(theirs.std(), rel=0.02)


@given(rows=st.integers(1, 8), columns=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
def test_the_smaller_side_of_an_orthogonal_matrix_is_orthonormal(rows, columns, seed):
    w = initializers.Orthogonal(gain=2.0)(np.random.default_rng(seed), (rows, columns), 1, 1) / 2.0
    product = w @ w.T if rows <= columns else w.T @ w
    np.testing.assert_allclose(product, np.eye(min(rows, columns)), atol=1e-12)


def test_an_orthogonal_kernel_is_orthonormal_over_all_axes_but_the_first():
    w = initializers.Orthogonal()(np.random.default_rng(0), (4, 2, 3), 6, 4)
    flat = w.reshape(4, 6)
    np.testing.assert_allclose(flat @ flat.T, np.eye(4), atol=1e-12)


def test_a_constant_is_the_same_everywhere():
    np.testing.assert_array_equal(
        initializers.Constant(0.5)(np.random.default_rng(0), (2, 3), 3, 2), np.full((2, 3), 0.5)
    )


@pytest.mark.parametrize("kind", INITIALIZERS, ids=by_name)
def test_a_seed_draws_the_same_weights_again_and_another_seed_others(kind):
    draws = [kind()(initializers.generator(seed), (3, 4), 4, 3) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert kind.__name__ == "Constant" or not np.array_equal(draws[0], draws[2])


def test_no_seed_draws_other_weights_every_time():
    one, two = (initializers.generator(None).random(4) for _ in range(2))
    assert not np.array_equal(one, two)


@pytest.mark.parametrize("kind", INITIALIZERS, ids=by_name)
def test_a_seed_gives_the_same_weights_on_every_backend(kind, backend_name):
    def weights(backend, dtype):
        layers = [npnn.Dense(3, 4, initializer=kind()), npnn.Dense(4, 2, initializer=kind())]
        return host_parameters(npnn.Sequential(layers, backend=backend, dtype=dtype, seed=5))

    for dtype in backends.DTYPES:
        ours, expected = weights(backend_name, dtype), weights("numpy", "float64")
        for name, array in expected.items():
            np.testing.assert_array_equal(ours[name], array.astype(dtype))


@pytest.mark.parametrize("kind", INITIALIZERS, ids=by_name)
def test_an_initializer_is_found_by_name_and_survives_its_config(kind):
    assert initializers.get(kind.__name__) == kind()
    config = initializers.to_config(kind())
    assert initializers.Initializer.registry[config.pop("type")](**config) == kind()
    assert hash(kind()) == hash(kind())


def test_initializers_are_equal_if_their_arguments_are():
    assert initializers.Constant(1.0) == initializers.Constant(1.0)
    assert initializers.Constant(1.0) != initializers.Constant(2.0)
    assert initializers.HeNormal() != initializers.LeCunNormal()
    assert repr(initializers.Orthogonal(2.0)) == "Orthogonal(gain=2.0)"


def test_an_unknown_initializer_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"'Henormal': did you mean 'HeNormal'.*there are Glorot"):
        initializers.get("Henormal")
    with pytest.raises(ValueError, match="unknown initializer '_Normal'"):
        initializers.get("_Normal")


def test_an_initializer_without_a_formula_says_so():
    with pytest.raises(NotImplementedError, match="Initializer does not say how it draws"):
        initializers.Initializer()(np.random.default_rng(0), (1,), 1, 1)
