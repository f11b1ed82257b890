"""Looking inside a model: against finite differences and one another; nothing is changed by it."""

import copy

import numpy as np
import pytest

import npnn
from npnn import inside, plots
from npnn.inside.formulas import as_mathml, as_text, formulas_of

RNG = np.random.default_rng(0)
X, C = RNG.standard_normal((5, 3)), np.array([0, 1, 1, 0, 1])
T = RNG.standard_normal((5, 2))


def nested(backend="numpy", capture=True, dtype="float64"):
    """Layers within layers, one of which stands in two places."""
    twice = npnn.Dense(4, 4)
    return npnn.Sequential(
        [
            npnn.Dense(3, 4),
            npnn.Tanh(),
            npnn.Parallel([[npnn.Dense(4, 2), npnn.Softplus()], npnn.Dense(4, 2)]),
            npnn.Residual([twice, npnn.Tanh()]),
            npnn.BatchNorm(),
            twice,
            npnn.Sequential([npnn.Dense(4, 3), npnn.Sigmoid()], backend=backend, dtype=dtype),
            npnn.Dense(3, 2),
            npnn.Softmax(),
        ],
        backend=backend,
        dtype=dtype,
        seed=3,
        capture=capture,
    )


def trained(backend="numpy", capture=True):
    model = nested(backend, capture)
    model.fit(X, C, epochs=2, batch_size=5, seed=0)
    return model


def on_host(model, arrays):
    return {name: np.array(model.backend.to_numpy(array)) for name, array in arrays.items()}


def differences(function, x, h=1e-6):
    """Return the central differences of a function of an array, by each of its numbers."""
    found = []
    for index in np.ndindex(x.shape):
        there, back = x.copy(), x.copy()
        there[index] += h
        back[index] -= h
        found.append((function(there) - function(back)) / (2 * h))
    return np.stack(found, axis=-1).reshape(*np.shape(found[0]), *x.shape)


@pytest.mark.parametrize("capture", [True, False])
def test_activations_are_those_of_every_layer_by_its_place(captured_on, capture):
    model = trained(captured_on, capture)
    found = on_host(model, model.activations(X))
    assert list(found) == [place for place, _ in model.walk() if place]
    y = model.backend.to_numpy(model.predict(X))
    np.testing.assert_allclose(found["8"], y, rtol=1e-12)
    w, b = (model.backend.to_numpy(model.parameters()[f"0.{name}"]) for name in "wb")
    np.testing.assert_allclose(found["0"], X @ w + b, rtol=1e-12)
    np.testing.assert_allclose(found["1"], np.tanh(found["0"]), rtol=1e-12)
    joined = np.concatenate([found["2.0"], found["2.1"]], axis=-1)
    np.testing.assert_array_equal(found["2"], joined)
    np.testing.assert_allclose(found["3"], found["2"] + found["3.layers.1"], rtol=1e-12)
    np.testing.assert_array_equal(found["6"], found["6.1"])


def test_gradients_of_parameters_are_those_of_finite_differences(captured_on):
    model = trained(captured_on)
    arrays = on_host(model, {**model.parameters(), **model.state()})
    found = on_host(model, model.gradients(X, C))
    assert list(found) == list(model.parameters())

    other = nested()
    other.chain = npnn.CrossEntropyLoss()

    def loss(name):
        def at(array):
            other.set_arrays({**arrays, name: array})
            return other.evaluate(X, C)["loss"]

        return at

    for name in found if captured_on == "numpy" else ["0.w", "2.0.0.w", "6.0.b"]:
        expected = differences(loss(name), arrays[name])
        np.testing.assert_allclose(found[name], expected, atol=2e-8, err_msg=name)


def test_gradients_by_activations_and_inputs_agree_with_the_jacobian(captured_on):
    model = trained(captured_on)
    by_activations = on_host(model, model.gradients(X, C, by="activations"))
    assert list(by_activations) == [place for place, _ in model.walk() if place]
    at_outputs = by_activations["8"]
    y = model.backend.to_numpy(model.predict(X))
    np.testing.assert_allclose(at_outputs[np.arange(5), C], -1 / y[np.arange(5), C] / 5)
    by_inputs = model.backend.to_numpy(model.gradients(X, C, by="inputs"))
    to_inputs = model.backend.to_numpy(model.jacobian(X))
    np.testing.assert_allclose(by_inputs, np.einsum("bn,bnk->bk", at_outputs, to_inputs))
    for place in ("0", "2.0.0", "2.0", "3.layers.1", "6", "7")[
        :: 1 if captured_on == "numpy" else 2
    ]:
        jacobian = model.backend.to_numpy(model.jacobian(X, by=place))
        expected = np.einsum("bn,bnk->bk", at_outputs, jacobian)
        np.testing.assert_allclose(by_activations[place], expected, atol=1e-12, err_msg=place)


def test_the_jacobian_is_that_of_finite_differences(captured_on):
    model = trained(captured_on)
    jacobian = model.backend.to_numpy(model.jacobian(X))
    assert jacobian.shape == (5, 2, 3)

    def predicted(x):
        return model.backend.to_numpy(model.predict(x[None]))[0]

    np.testing.assert_allclose(jacobian[1], differences(predicted, X[1]), atol=1e-8)
    for place in ("2.0.0", "6") if captured_on == "numpy" else ("2.0.0",):

        def given(x, place=place):
            return model.backend.to_numpy(model.activations(x[None])[place])[0]

        found = model.backend.to_numpy(model.jacobian(X, of=place))[1]
        np.testing.assert_allclose(found, differences(given, X[1]), atol=1e-8, err_msg=place)


def test_the_chain_rule_holds_between_layers():
    model = trained()
    whole = model.jacobian(X)
    parts = model.jacobian(X, by=2) @ model.jacobian(X, of=2)
    np.testing.assert_allclose(whole, parts, atol=1e-12)
    np.testing.assert_array_equal(model.jacobian(X, of=-1), whole)
    assert not model.jacobian(X, of=1, by=4).any()  # what comes later moves nothing


def test_derivatives_are_in_the_units_of_inputs_and_targets():
    x = 100.0 + 30.0 * RNG.standard_normal((40, 2))
    t = 5000.0 + 70.0 * x[:, :1]
    model = npnn.Sequential(
        [npnn.Dense(2, 3), npnn.Tanh(), npnn.Dense(3, 1)], dtype="float64", seed=0
    )
    model.norm = npnn.Normalization.standard(x)
    model.fit(x, t, epochs=2, seed=0)
    assert model.target_norm is not None
    expected = differences(lambda one: model.predict(one[None])[0], x[0], 1e-4)
    np.testing.assert_allclose(model.jacobian(x)[0], expected, rtol=1e-6)
    found = model.gradients(x[:3], t[:3], by="inputs")
    expected = differences(lambda given: model.evaluate(given, t[:3])["loss"], x[:3], 1e-4)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_images_and_chains_are_looked_into():
    encoder = npnn.Sequential(
        [npnn.Conv2D((4, 4, 1), 2, 3), npnn.Flatten(), npnn.Latent(4)], dtype="float64", seed=0
    )
    decoder = npnn.Sequential([npnn.Sample(), npnn.Dense(3)], dtype="float64", seed=1)
    encoder.chain = npnn.KullbackLeiblerLoss()
    encoder.chain.chain = decoder
    decoder.chain = npnn.RMSLoss()
    x, t = RNG.standard_normal((2, 4, 4, 1)), RNG.standard_normal((2, 3))
    found = encoder.gradients(x, t)
    assert set(found) == {*encoder.parameters(), "2:1.w", "2:1.b"}
    by_inputs = encoder.gradients(x, t, by="inputs")
    expected = differences(lambda given: encoder.evaluate(given, t)["loss"], x)
    np.testing.assert_allclose(by_inputs, expected, atol=1e-8)
    assert encoder.jacobian(x).shape == (2, 4, 4, 4, 1)
    assert list(encoder.gradients(x, t, by="activations"))[-2:] == ["2:0", "2:1"]


def state_of(model, optimizer, loss):
    """Return all that a look must leave as it is."""
    runner = model.runner
    return copy.deepcopy(
        {
            **on_host(model, {**model.parameters(), **model.state()}),
            "moments": [[np.array(a) for a in moment] for moment in optimizer.state],
            "steps": optimizer.steps,
            "random": model.rng.bit_generator.state,
            "sums": {k: v for k, v in loss.sums_so_far().items()},
            "sides": [id(side) for side in runner._sides],
            "recorded": [len(side._training) for side in runner._sides],
            "chain": repr(model.chain),
            "attributes": sorted(vars(model)),
        }
    )


def test_nothing_of_the_model_is_changed():
    model = npnn.Sequential(
        [npnn.Dense(3, 8), npnn.BatchNorm(), npnn.ReLU(), npnn.Dropout(0.5), npnn.Dense(2),
         npnn.Softmax()], seed=0,
    )  # fmt: skip
    model.chain, optimizer = npnn.CrossEntropyLoss(), npnn.Adam()
    optimizer.model = model
    for _ in range(3):
        optimizer.step(X, C)
    model.predict(X)
    before, recorded = state_of(model, optimizer, model.chain), steps_of(model, optimizer)
    model.activations(X, training=True)
    model.gradients(X, C, training=True)
    model.gradients(X, C, by="activations")
    model.jacobian(X)
    model.explain(X, C, optimizer=optimizer)
    inside.distributions(model, X, C)
    inside.loss_around(model, X, C, points=3)
    after = state_of(model, optimizer, model.chain)
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_equal(after[name], value, err_msg=name)
    assert steps_of(model, optimizer) == recorded


def steps_of(model, optimizer):
    """Return the recorded steps that the model would run."""
    runner = model.runner
    training = runner.attach(optimizer).step
    return training, runner.side(alone=True).prediction(runner)


def test_a_model_without_a_loss_has_one_only_for_the_look():
    model = npnn.Sequential([npnn.Dense(3, 2), npnn.Softmax()], seed=0)
    model.predict(X)
    recorded = model.runner.side(alone=True).prediction(model.runner)
    found = model.gradients(X, C)
    assert model.chain is None
    assert model.runner.side(alone=True).prediction(model.runner) is recorded
    model.chain = npnn.CrossEntropyLoss()
    np.testing.assert_array_equal(found["0.w"], model.gradients(X, C)["0.w"])


def test_the_dropout_that_is_looked_at_is_that_of_the_next_step():
    model = npnn.Sequential([npnn.Dense(3, 50), npnn.Dropout(0.5), npnn.Dense(1)], seed=0)
    model.chain, optimizer = npnn.RMSLoss(), npnn.GradientDescent(1.0)
    optimizer.model = model
    t, before = T[:, :1], on_host(model, model.parameters())
    found = model.gradients(X, t, training=True)
    dropped = model.activations(X, training=True)["1"]
    assert 0.3 < np.mean(dropped == 0.0) < 0.7
    optimizer.step(X, t)
    for name, array in on_host(model, model.parameters()).items():
        np.testing.assert_allclose(array, before[name] - found[name], atol=1e-6)


def test_what_cannot_be_looked_at_is_said():
    model = trained()
    with pytest.raises(
        ValueError, match=r"of must be the place of a layer, not '9'; there are '0'"
    ):
        model.jacobian(X, of="9")
    with pytest.raises(ValueError, match=r"by must be one of 'parameters', .*not 'weights'"):
        model.gradients(X, C, by="weights")
    with pytest.raises(ValueError, match="targets are needed"):
        model.gradients(X)
    with pytest.raises(ValueError, match="sample must be from 0 to 4, of a batch of 5"):
        model.explain(X, C, sample=5)
    with pytest.raises(ValueError, match="shape"):
        model.activations(X[:, :2])
    with pytest.raises(TypeError, match="no argument 'train'"):
        model.activations(X, train=True)


# The step in slow motion -------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "SGD", "RMSprop", "Adagrad", "Adadelta"])
def test_what_is_explained_is_what_the_next_step_does(optimizer):
    model = nested(dtype="float64")
    model.chain = npnn.CrossEntropyLoss()
    penalty = {} if optimizer == "AdamW" else {"weight_decay": 1e-3}
    optimizer = getattr(npnn, optimizer)(alpha=0.05, clip_norm=0.1, **penalty)
    optimizer.model = model
    for _ in range(3):
        optimizer.step(X, C)
    found = inside.operations(model, X, C, 2, optimizer)
    model.chain.reset()
    optimizer.step(X, C)
    new = {o.place: dict(o.values)["θ, new"] for o in found if o.phase == "update"}
    assert new.keys() == model.parameters().keys()
    for name, array in model.parameters().items():
        np.testing.assert_allclose(new[name], array, rtol=1e-9, atol=1e-12)
    (loss,) = [dict(o.values)["L"] for o in found if o.phase == "loss"]
    np.testing.assert_allclose(loss, model.chain.get_loss())


@pytest.mark.later("jax")
def test_a_step_is_explained_on_every_backend(backend_name):
    model = npnn.Sequential([npnn.Dense(3, 2), npnn.Softmax()], backend=backend_name, seed=0)
    here = npnn.Sequential([npnn.Dense(3, 2), npnn.Softmax()], seed=0)
    found, expected = inside.operations(model, X, C, 1), inside.operations(here, X, C, 1)
    for one, other in zip(found, expected, strict=True):
        assert one[:4] == other[:4]
        for (name, value), (_, same) in zip(one.values, other.values, strict=True):
            np.testing.assert_allclose(value, same, atol=1e-6, err_msg=name)
    said = inside.findings(inside.distributions(model, X, C))
    assert said == inside.findings(inside.distributions(here, X, C))


def test_the_explanation_holds_every_operation_with_its_formula_and_numbers():
    model = npnn.Sequential([npnn.Dense(2, 2), npnn.ReLU(), npnn.Dense(2, 2), npnn.Softmax()])
    w = {"0.w": [[1.0, 2.0], [3.0, -4.0]], "0.b": [0.5, 0.25]}
    w |= {"2.w": [[1.0, -1.0], [0.5, 1.0]], "2.b": [0.0, 0.0]}
    model.set_arrays({name: np.array(a, "float32") for name, a in w.items()})
    text = model.explain([1.0, 0.5], 0, optimizer=npnn.GradientDescent(0.5))
    titles = [line for line in text.splitlines() if line.strip()[:1].isdigit() and ". " in line]
    assert [t.split(". ", 1)[1].split("(")[0] for t in titles] == [
        "layer 0, Dense", "layer 1, ReLU", "layer 2, Dense", "layer 3, Softmax",
        "CrossEntropyLoss", "the derivative of CrossEntropyLoss",
        "layer 2, Dense", "layer 1, ReLU", "layer 0, Dense",
        "0.w by GradientDescent, step 1", "0.b by GradientDescent, step 1",
        "2.w by GradientDescent, step 1", "2.b by GradientDescent, step 1",
    ]  # fmt: skip
    assert "y = x w + b" in text
    assert "θ ← θ − α g" in text
    assert "∂L/∂xₙ = (yₙ − tₙ)/batch" in text
    # x w + b = (1 + 1.5 + 0.5, 2 - 2 + 0.25)
    assert "y =         3       0.25" in text
    y = np.exp([3.125, -2.75]) / np.exp([3.125, -2.75]).sum()
    assert f"{-np.log(y[0]):.4g}" in text


def test_formulas_are_read_off_the_docstrings():
    assert [as_text(f) for f in formulas_of(npnn.Dense).forward] == ["y = x w + b"]
    assert as_text(formulas_of(npnn.Dense).backward[0]) == "∂L/∂w = xᵀ ∂L/∂y"
    assert as_text(formulas_of(npnn.ReLU).backward[0]) == "dy/dx = 1 if x > 0; 0 if x ≤ 0"
    assert as_text(formulas_of(npnn.Softmax).forward[0]) == "yₙ = (e^(xₙ))/(Σₖ e^(xₖ))"
    assert as_text(formulas_of(npnn.SGD).forward[1]) == "θ ← θ − α v"
    assert as_mathml(r"y = \frac{x}{2}") == (
        '<math display="block"><mrow><mi>y</mi><mo>=</mo><mfrac><mrow><mi>x</mi></mrow><mrow>'
        "<mn>2</mn></mrow></mfrac></mrow></math>"
    )


def test_every_formula_of_the_package_becomes_text_without_latex():
    kinds = [*npnn.Layer.registry.values(), *npnn.Optimizer.registry.values()]
    kinds = [kind for kind in kinds if kind.__module__.startswith("npnn.")]
    without = {k.__name__ for k in kinds if not formulas_of(k).forward}
    assert without <= {"Shape", "Flatten", "Weighted"}
    for kind in kinds:
        for formula in (*formulas_of(kind).forward, *formulas_of(kind).backward):
            text, markup = as_text(formula), as_mathml(formula)
            assert text
            assert not set(text) & set("\\{}&$"), text
            assert "\\" not in markup


# Histograms, pictures ----------------------------------------------------------------------------


def test_dead_units_and_vanishing_gradients_are_named():
    layers = [npnn.Dense(3, 4), npnn.ReLU(), npnn.Dense(4, 4), npnn.Sigmoid(), npnn.Dense(4, 2)]
    model = npnn.Sequential([*layers, npnn.Softmax()], dtype="float64", seed=0)
    arrays = on_host(model, model.parameters())
    arrays["0.b"][:2] = -100.0
    arrays["2.b"][:] = 12.0
    model.set_arrays(arrays)
    found = inside.distributions(model, X, C)
    said = inside.findings(found)
    assert "layer 1, ReLU(4): 2 of 4 units are dead: each gives the same for all samples" in said
    assert any(s.startswith("layer 0, Dense(3, 4): the gradient vanishes: it is ") for s in said)
    weights = next(d for d in found if (d.of, d.place) == ("weights", "0"))
    assert weights.counts.sum() == 16
    assert {d.of for d in found} == {"weights", "activations", "gradients"}
    healthy = trained()
    assert inside.findings(inside.distributions(healthy, X, C)) == []


@pytest.mark.later("jax")
def test_the_landscape_is_the_loss_at_the_parameters_that_it_names(captured_on):
    model = trained(captured_on)
    arrays = on_host(model, {**model.parameters(), **model.state()})
    d1, d2 = ({"0.w": RNG.standard_normal((3, 4))}, {"7.b": RNG.standard_normal(2)})
    found = inside.loss_around(model, X, C, directions=(d1, d2), span=0.5, points=3)
    assert found.loss.shape == (3, 3)
    other = trained("numpy")
    moved = {"0.w": arrays["0.w"] + 0.5 * d1["0.w"], "7.b": arrays["7.b"] - 0.5 * d2["7.b"]}
    other.set_arrays({**arrays, **moved})
    np.testing.assert_allclose(found.loss[2, 0], other.evaluate(X, C)["loss"], rtol=1e-10)
    np.testing.assert_allclose(found.loss[1, 1], model.evaluate(X, C)["loss"], rtol=1e-10)
    with pytest.raises(ValueError, match=r"there is no parameter '9\.w'"):
        inside.loss_around(model, X, C, directions=({"9.w": d1["0.w"]}, d2))


def test_pictures_of_what_is_inside_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    model = npnn.Sequential([npnn.Dense(3, 20), npnn.Tanh(), npnn.Dense(2), npnn.Softmax()], seed=0)
    figure = npnn.draw(model, tmp_path / "network.png")
    (axes,) = figure.axes
    lines = [c for c in axes.collections if hasattr(c, "get_segments")]
    assert sum(len(c.get_segments()) for c in lines) == 3 * 12 + 12 * 2
    assert axes.get_title(loc="left") == "122 parameters, backend numpy, float32"
    assert {"0: Dense\n20, θ 80\nTanh", "2: Dense\n2, θ 42\nSoftmax"} <= {
        text.get_text() for text in axes.texts
    }
    plots.histograms(model, X, C, tmp_path / "histograms.png")
    plots.landscape(model, X, C, tmp_path / "landscape.png", points=5)
    images = npnn.Sequential([npnn.Conv2D((4, 4, 1), 2, 3), npnn.ReLU(), npnn.Flatten()], seed=0)
    npnn.draw(images, tmp_path / "images.png")
    assert all((tmp_path / f"{name}.png").stat().st_size > 2000
               for name in ("network", "histograms", "landscape", "images"))  # fmt: skip


def test_an_explanation_fits_a_terminal():
    layers = [npnn.Dense(20, 1200), npnn.BatchNorm(), npnn.ReLU(), npnn.Dense(6), npnn.Softmax()]
    model = npnn.Sequential(layers, seed=0)
    x = np.random.default_rng(0).normal(size=(4, 20)) * 1e-5
    text = model.explain(x, [0, 1, 2, 5], optimizer=npnn.Adam())
    assert max(map(len, text.splitlines())) <= 80
