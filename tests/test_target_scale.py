"""Targets of any size are learnt, and answered in their own units."""

import numpy as np
import pytest

import npnn

RNG = np.random.default_rng(21)
X = RNG.normal(size=(120, 4)).astype(np.float32)
UNIT = (X[:, :1] - 0.5 * X[:, 1:2] + 0.2 * X[:, 2:3] * X[:, 3:]).astype(np.float64)
LARGE = 2e5 * UNIT + 1e6


def regressor(outputs=1, **options):
    layers = [npnn.Dense(4, 16), npnn.Tanh(), npnn.Dense(16, outputs)]
    return npnn.Sequential(layers, seed=1, **options)


@pytest.mark.parametrize("capture", [True, False])
@pytest.mark.later("jax")
def test_targets_of_a_million_are_learnt_and_told_in_their_units(backend_name, capture):
    if backend_name == "jax" and not capture:
        pytest.skip("it compiles each operation alone")
    model = regressor(backend=backend_name, capture=capture)
    history = model.fit(X, LARGE, epochs=30, optimizer=npnn.Adam(0.01), metrics=["r2", "mae"])
    assert history["r2"][-1] > 0.8
    error = model.backend.to_numpy(model.predict(X)).astype(np.float64) - LARGE
    found = model.evaluate(X, LARGE, batch_size=50, metrics=["mae"])
    assert found["loss"] == pytest.approx(0.5 * np.mean(error**2), rel=1e-3)
    assert found["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-3)
    assert history["mae"][-1] == pytest.approx(found["mae"], rel=1e-3)
    optimizer = npnn.Adam()
    optimizer.model = model
    model.chain.get_loss()
    optimizer.predict(X, LARGE)
    assert model.chain.get_loss() == pytest.approx(found["loss"], rel=1e-5)


@pytest.mark.parametrize(("size", "middle"), [(1e6, 0.0), (30.0, 20.0), (1e-6, 0.0), (3.0, 1e4)])
def test_the_defaults_of_fit_learn_targets_of_any_size(size, middle):
    history = regressor().fit(X, size * UNIT + middle, epochs=100, metrics=["r2"])
    assert history["r2"][-1] > 0.7


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize(
    ("loss", "scaled_loss", "power"),
    [
        (lambda s: npnn.RMSLoss(), npnn.RMSLoss, 2),
        (lambda s: npnn.L1Loss(), npnn.L1Loss, 1),
        (lambda s: npnn.HuberLoss(delta=0.5 * s), lambda: npnn.HuberLoss(delta=0.5), 2),
    ],
)
def test_it_is_the_same_training_as_of_scaled_targets(outputs, loss, scaled_loss, power):
    t = LARGE * np.array([1.0, 0.1])[:outputs]
    offset, scale = t.mean(axis=0), np.sqrt(t.var(axis=0).mean())
    small, w = (t - offset) / scale, RNG.random(120)
    model, scaled = regressor(outputs), regressor(outputs)
    history, expected = (
        each.fit(
            X, targets, loss=kind, w=w, epochs=3, validation_data=(X[:9], targets[:9]),
            optimizer=npnn.SGD(alpha=0.05),
        )
        for each, targets, kind in ((model, t, loss(scale)), (scaled, small, scaled_loss()))
    )  # fmt: skip
    assert float(model.target_norm.scale) == pytest.approx(scale)
    assert scaled.target_norm is None
    np.testing.assert_allclose(model.predict(X), scaled.predict(X) * scale + offset, rtol=1e-5)
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], np.multiply(values, scale**power), rtol=1e-4)


def test_targets_of_ordinary_size_and_other_losses_are_left_alone():
    for t in (UNIT, UNIT * 5.0 + 8.0, np.zeros((120, 1)), np.full((120, 1), 3.0)):
        model = regressor()
        model.fit(X, t, epochs=1)
        assert model.target_norm is None
    classes = npnn.Sequential([npnn.Dense(4, 3), npnn.Softmax()])
    classes.fit(X, RNG.integers(3, size=120), epochs=1)
    assert classes.target_norm is None

    class OwnSquares(npnn.RMSLoss):
        """Whose value grows who knows how."""

    try:
        own = regressor()
        own.fit(X, LARGE, epochs=1, loss=OwnSquares())
        assert own.target_norm is None
    finally:
        del npnn.Layer.registry["OwnSquares"]


def test_a_model_that_was_trained_or_whose_outputs_are_bounded_is_left_alone(tmp_path):
    trained = regressor()
    trained.fit(X, UNIT, epochs=1)
    trained.save(tmp_path / "m")
    loaded = npnn.load(tmp_path / "m")
    by_hand = regressor()
    optimizer = npnn.Adam()
    optimizer.model, by_hand.chain = by_hand, npnn.RMSLoss()
    optimizer.step(X, UNIT)
    positive = npnn.Sequential([npnn.Dense(4, 1), npnn.ReLU()], seed=1)
    for model in (trained, loaded, by_hand, positive):
        model.fit(X, LARGE, epochs=1, loss="rms")
        assert model.target_norm is None
    encoder, decoder = npnn.Sequential([npnn.Dense(4, 2)]), npnn.Sequential([npnn.Dense(2, 4)])
    encoder.chain, decoder.chain = decoder, npnn.RMSLoss()
    encoder.fit(X, X * 1e6, epochs=1)
    assert encoder.target_norm is None


@pytest.mark.later("jax")
def test_the_file_and_steps_by_hand_keep_the_units(tmp_path, backend_name):
    model = regressor(backend=backend_name)
    model.fit(X, LARGE, epochs=3)
    y = model.backend.to_numpy(model.predict(X))
    model.save(tmp_path / "m")
    loaded = npnn.load(tmp_path / "m")
    assert loaded.target_norm == model.target_norm
    np.testing.assert_allclose(loaded.predict(X), y, rtol=1e-5)
    expected = loaded.evaluate(X, LARGE)["loss"]
    optimizer = npnn.Adam()
    optimizer.model = model
    for dtype in (np.float64, np.float32, np.float32):
        optimizer.step(X, LARGE.astype(dtype))
        now = model.chain.get_loss()
        assert now == pytest.approx(expected, rel=0.1)
    np.testing.assert_allclose(
        model.backend.to_numpy(optimizer.predict(X)), loaded.predict(X), rtol=0.1
    )
    assert model.fit(X, LARGE, epochs=1)["loss"][0] < expected * 1.1


def test_training_that_goes_on_is_the_same(tmp_path):
    options = {"seed": 3, "validation_split": 0.2, "metrics": ["mae"]}
    whole, half = regressor(), regressor()
    expected = whole.fit(X, LARGE, epochs=4, **options)
    path = tmp_path / "c"
    half.fit(X, LARGE, epochs=2, callbacks=[npnn.Checkpoint(path)], **options)
    np.testing.assert_array_equal(npnn.load(path).predict(X), half.predict(X))
    for model in (regressor(), npnn.load(path)):
        history = model.fit(X, LARGE, epochs=4, resume=path, **options)
        assert history == expected
        np.testing.assert_array_equal(model.predict(X), whole.predict(X))


def test_callbacks_see_the_units_of_the_targets():
    seen = []

    def look(training, metrics):
        error = training.model.predict(X) - LARGE
        seen.append((0.5 * np.mean(error**2), training.model.evaluate(X, LARGE)["loss"]))

    stopping = npnn.EarlyStopping(3)
    history = regressor().fit(
        X, LARGE, epochs=4, validation_data=(X, LARGE), callbacks=[look, stopping]
    )
    assert stopping.best == min(history["val_loss"])
    for (expected, evaluated), value in zip(seen, history["val_loss"], strict=True):
        assert evaluated == pytest.approx(expected, rel=1e-3)
        assert value == pytest.approx(expected, rel=1e-3)


def test_a_mistake_leaves_no_scale():
    model = regressor()
    with pytest.raises(ValueError, match="there is no 'f3'"):
        model.fit(X, LARGE, metrics=["f3"])
    assert model.target_norm is None
    assert model.chain is None


def test_a_scale_that_is_given_is_used_and_looked_at():
    model = regressor()
    model.target_norm = npnn.Normalization(0.0, 1e3)
    y = model.predict(X)
    model.fit(X, LARGE, epochs=1)
    assert float(model.target_norm.scale) == 1e3
    assert np.abs(y).max() > 100.0
    with pytest.raises(ValueError, match="one scale for all outputs"):
        model.target_norm = npnn.Normalization(0.0, [1.0, 2.0])
    with pytest.raises(TypeError, match="target_norm must be a Normalization"):
        model.target_norm = 3
    model.target_norm = npnn.Normalization([0.0, 1.0])
    with pytest.raises(ValueError, match=r"target_norm does not fit the outputs: .*offset.*\(2,\)"):
        model.fit(X, LARGE)
