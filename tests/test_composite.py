"""Layers made of layers: their gradients, names, files, and that they are their parts."""

import numpy as np
import pytest
from layer_checks import (
    assert_captured_is_eager,
    assert_gradients_are_those_of_central_differences,
    built,
    distinct,
)

import npnn
from npnn import backends
from npnn.layers import BatchNorm, Conv2D, Dropout, Inception, MaxPool, Parallel, Residual
from npnn.layers.row import Row

SMALL = {
    "channels_1x1": 1, "reduce_3x3": 2, "channels_3x3": 2, "reduce_5x5": 1, "channels_5x5": 1,
    "channels_pool": 1,
}  # fmt: skip


def branches():
    return [npnn.Dense(None, 2), [npnn.Dense(None, 3), npnn.Softplus()], npnn.Tanh()]


LAYERS = {
    "Parallel": (lambda: Parallel(branches()), (4,)),
    "Residual": (lambda: Residual([npnn.Dense(None, 3), npnn.Tanh(), npnn.Dense(None, 4)]), (4,)),
    "nested": (lambda: Residual([Parallel([npnn.Tanh(), Residual(npnn.Tanh())]), npnn.Dense(6, 3)]),
               (3,)),
    "Inception": (lambda: Inception(**SMALL), (3, 2, 2)),
}  # fmt: skip
EACH = pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS.keys())


@EACH
@pytest.mark.later("jax")
def test_the_gradients_are_those_of_central_differences(make, shape, backend):
    if backend.name == "jax" and len(shape) == 3:
        shape = (1, 1, 1)  # compiled operation by operation, a larger one takes half a minute
    layer = built(make(), shape, backend)
    x = distinct(np.random.default_rng(0), (2, *shape))
    assert_gradients_are_those_of_central_differences(layer, x, backend)


@EACH
def test_a_captured_step_computes_what_the_plain_one_does(make, shape, captured_on):
    if captured_on == "jax" and len(shape) == 3:
        pytest.skip("XLA compiles Inception for half a minute; its parts are tested by themselves")
    assert_captured_is_eager(lambda: [make()], shape, captured_on)


def test_branches_are_joined_in_their_order():
    numpy = backends.get("numpy", "float64")
    layer = built(Parallel(branches()), (4,), numpy)
    x = np.random.default_rng(1).standard_normal((5, 4))
    alone = [branch.forward(x) for branch in layer.branches]
    assert layer.shape_out == (9,)
    np.testing.assert_array_equal(layer.forward(x), np.concatenate(alone, axis=-1))


def test_a_way_around_adds_what_comes_in():
    layer = built(Residual(npnn.Dense(None, 3)), (3,), backends.get("numpy", "float64"))
    dense = layer.layers.layers[0]
    x = np.random.default_rng(2).standard_normal((5, 3))
    np.testing.assert_allclose(layer.forward(x), x + x @ dense.w + dense.b, atol=1e-14)


def test_inception_has_the_branches_of_the_paper():
    layer = Inception()
    assert layer.build((28, 28, 192), np.random.default_rng(0)) == (28, 28, 256)
    convolutions = [part for _, part in layer.walk() if isinstance(part, Conv2D)]
    assert [(c.kernel[0], c.shape_out[-1]) for c in convolutions] == [
        (1, 64), (1, 96), (3, 128), (1, 16), (5, 32), (1, 32)
    ]  # fmt: skip
    # Table 1 of the paper counts 159K weights for the module 3a, and 128M products.
    count = sum(convolution.w.size for convolution in convolutions)
    assert count == pytest.approx(159_000, rel=0.03)
    assert layer.flops / 2 == pytest.approx(128e6, rel=0.03)


def test_the_largest_pixel_is_never_one_of_the_margin():
    numpy = backends.get("numpy", "float64")
    layer = built(Inception(**SMALL), (2, 2, 1), numpy)
    pooling = layer.branches[3].layers
    x = -np.ones((1, 2, 2, 1))
    np.testing.assert_array_equal(pooling[1].forward(pooling[0].forward(x)), x)


def test_parameters_are_named_by_their_way_through_the_parts(backend_name):
    model = npnn.Sequential(
        [Parallel(branches(), 4), Residual([npnn.Dense(None, 9), BatchNorm()])],
        backend=backend_name,
        seed=0,
    )
    assert list(model.parameters()) == [
        "0.0.0.w", "0.0.0.b", "0.1.0.w", "0.1.0.b",
        "1.layers.0.w", "1.layers.0.b", "1.layers.1.gamma", "1.layers.1.beta",
    ]  # fmt: skip
    names = npnn.layers.BatchNorm.state_names
    assert list(model.state()) == [f"1.layers.1.{name}" for name in names]
    for array in model.parameters().values():
        assert array.dtype == model.backend.dtype


def test_a_seed_gives_the_same_weights_also_where_a_branch_knows_its_shape():
    def weights():
        branches = [npnn.Dense(4, 2), [npnn.Dense(4, 3), npnn.ReLU()]]
        model = npnn.Sequential([Parallel(branches, 4)], seed=3, dtype="float64")
        return model.parameters()

    first, second = weights(), weights()
    for name, array in first.items():
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array, second[name])


def test_the_last_layer_of_a_branch_is_drawn_as_suits_what_follows():
    def model(initializer):
        branches = [npnn.Dense(None, 2, initializer=initializer), npnn.Dense(None, 2)]
        return npnn.Sequential([Parallel(branches, 4), npnn.ReLU()], seed=0)

    np.testing.assert_array_equal(
        model(None).parameters()["0.0.0.w"], model("HeNormal").parameters()["0.0.0.w"]
    )


def test_nested_layers_train_and_have_their_own_mode_and_noise(backend_name):
    layers = [Residual([npnn.Dense(3, 3), Dropout(0.5)]), npnn.Dense(None, 1)]
    model = npnn.Sequential(layers, backend=backend_name, seed=0)
    model.fit(np.ones((8, 3)), np.ones(8), epochs=2, batch_size=4, seed=1)
    to_numpy, x = model.backend.to_numpy, np.ones((2, 3))
    np.testing.assert_array_equal(to_numpy(model.predict(x)), to_numpy(model.predict(x)))


def test_nested_layers_survive_their_file_and_a_summary_counts_them(tmp_path):
    layers = [
        Conv2D((6, 6, 1), 2, padding="same"),
        Inception(**SMALL),
        Residual([Conv2D(None, 5, padding="same"), BatchNorm(), npnn.ReLU()]),
        Parallel([MaxPool(), npnn.Sequential([Conv2D(None, 3, 2, 2)])]),
    ]
    model = npnn.Sequential(layers, seed=0)
    model.save(tmp_path / "model.safetensors")
    loaded = npnn.load(tmp_path / "model.safetensors")
    x = np.random.default_rng(4).standard_normal((2, 6, 6, 1))
    np.testing.assert_array_equal(loaded.predict(x), model.predict(x))
    assert [repr(layer) for layer in loaded.layers] == [repr(layer) for layer in layers]
    count = sum(array.size for array in {**model.parameters(), **model.state()}.values())
    assert f"{count:,}" in model.summary()
    assert repr(layers[3]).startswith("Parallel([MaxPool((6, 6, 5), (3, 3, 5)), Conv2D(")


@pytest.mark.parametrize(
    ("make", "shape", "error", "message"),
    [
        (lambda: Parallel([]), (3,), ValueError, "at least one branch"),
        (lambda: Parallel([npnn.Dense(None, 2), ["ReLU"]]), (3,), TypeError, "not of 'ReLU'"),
        (
            lambda: Parallel([Conv2D(None, 2), Conv2D(None, 2, 1)]),
            (4, 4, 1),
            ValueError,
            r"\(2, 2, 2\), \(4, 4, 2\) cannot be joined: only the last axis may differ",
        ),
        (
            lambda: Parallel([npnn.Tanh(), [npnn.Tanh(), npnn.Dense(2, 2)]]),
            (3,),
            ValueError,
            r"branch 1, layer 1, Dense\(2, 2\): takes inputs of shape \(2,\).*\(3,\)",
        ),
        (
            lambda: Residual(npnn.Dense(None, 2)),
            (3,),
            ValueError,
            r"make \(2,\) of inputs of shape \(3,\), .* must make \(3,\)",
        ),
        (lambda: Inception(), (9,), ValueError, "images"),
    ],
)
def test_what_does_not_fit_is_refused(make, shape, error, message):
    with pytest.raises(error, match=message):
        make().build(shape, np.random.default_rng(0))


# Rows within that are changed, or empty -----------------------------------------------------------

X = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
WITHIN = {
    "row": Row,
    "model": npnn.Sequential,
    "row in a row": lambda layers: Row([Row(layers)]),
}
AROUND = {
    "residual": lambda row: [Residual(row), npnn.Dense(4, 1)],
    "parallel": lambda row: [Parallel([row, npnn.Dense(4, 2)]), npnn.Dense(6, 1)],
    "nested": lambda row: [row, npnn.Dense(4, 1)],
}


@pytest.mark.parametrize("within", WITHIN)
@pytest.mark.parametrize("around", AROUND)
def test_a_row_within_may_be_given_other_layers(within, around):
    row = WITHIN[within]([npnn.Dense(4, 4)])
    model = npnn.Sequential(AROUND[around](row), seed=0)
    model.fit(X, X[:, :1], epochs=1)
    kept = np.array(model.layers[-1].w)
    inner = row if within != "row in a row" else row.layers[0]
    inner.layers = [npnn.Dense(4, 6), npnn.Tanh(), npnn.Dense(6, 4)]
    assert len(model.parameters()) in (6, 8)
    np.testing.assert_array_equal(model.layers[-1].w, kept)
    assert model.predict(X).shape == (8, 1)
    assert np.isfinite(model.fit(X, X[:, :1], epochs=1)["loss"]).all()
    inner.layers = [npnn.Dense(4, 3)]
    with pytest.raises(ValueError, match=r"layer [01], .*\b(3|5)\b"):
        model.predict(X)


@pytest.mark.parametrize("row", [Row, npnn.Sequential])
def test_a_row_without_layers_is_told_to_have_none(row):
    for layers in ([Residual(row())], [Parallel([row()])], [row()], [Residual([row()])]):
        assert "[]" in repr(layers) or "Sequential" in repr(layers)
        model = npnn.Sequential([npnn.Dense(None, 4), *layers])
        with pytest.raises(ValueError, match="it has no layers: assign them first"):
            model.predict(X)
