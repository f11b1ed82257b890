"""How often a step is recorded, and what the recorded ones take: once for what comes again."""

import gc
import importlib.util

import numpy as np
import pytest

import npnn
from npnn.backends.planning.plan import Plan
from npnn.backends.recording import capture as capturing
from npnn.backends.recording.capture import CapturedStep

BACKENDS = ["numpy"] + ["numba"] * (importlib.util.find_spec("numba") is not None)
RNG = np.random.default_rng(0)
X, T = RNG.standard_normal((16, 6)), RNG.standard_normal((16, 2))


@pytest.fixture
def recorded(monkeypatch):
    """A list that becomes longer with each recording."""
    seen, record = [], CapturedStep._record

    def noted(self, key, *trees):
        seen.append(key)
        return record(self, key, *trees)

    monkeypatch.setattr(CapturedStep, "_record", noted)
    return seen


def trainer(model, loss=None, **options):
    model.chain = loss or npnn.RMSLoss()
    optimizer = npnn.Adam(alpha=0.01, **options)
    optimizer.model = model
    return optimizer


# Memory -------------------------------------------------------------------------------------------


def wide(backend="numpy"):
    layers = [npnn.Dense(64, 512), npnn.ReLU(), npnn.Dense(512, 10), npnn.Softmax()]
    return npnn.Sequential(layers, seed=0, backend=backend)


def plans_of(model):
    return [plan for plan, _ in model.runner.side(True).prediction(model.runner).plans.values()]


@pytest.mark.parametrize("backend", BACKENDS)
def test_predictions_of_many_sizes_take_bounded_memory(backend, monkeypatch):
    monkeypatch.setattr(capturing, "MOST_BYTES", 1 << 20)
    model, x = wide(backend), np.ones((2000, 64), np.float32)
    for rows in range(1000, 2000, 50):
        y = model.predict(x[:rows])
        np.testing.assert_allclose(y, np.broadcast_to(y[0], y.shape), rtol=1e-5)
    kept = plans_of(model)
    assert len(kept) == capturing.FEW_PLANS
    assert max(plan.nbytes for plan in kept) > 1 << 20
    for rows in range(1, 20):
        model.predict(x[:rows])
    assert sum(plan.nbytes for plan in plans_of(model)) <= 1 << 20
    assert capturing.FEW_PLANS < len(plans_of(model)) <= capturing.MOST_PLANS


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_forgotten_plan_is_gone_without_a_collector(backend, monkeypatch):
    monkeypatch.setattr(capturing, "MOST_PLANS", 2)
    model, x = wide(backend), np.ones((60, 64), np.float32)
    gc.collect()  # of other tests
    gc.disable()
    try:
        for rows in range(1, 20):
            model.predict(x[:rows])
        alive = [found for found in gc.get_objects() if issubclass(type(found), Plan)]
        assert len([plan for plan in alive if "arena" in vars(plan)]) < 10
    finally:
        gc.enable()


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_comes_again_is_kept_whatever_it_takes(backend, recorded, monkeypatch):
    monkeypatch.setattr(capturing, "MOST_BYTES", 0)
    model, x = wide(backend), np.ones((500, 64), np.float32)
    t = np.zeros(500, int)
    for epoch in range(4):
        model.fit(x[:40], t[:40], epochs=1, batch_size=32, validation_data=(x, t))
        for rows in (1, 500):
            model.predict(x[:rows])
        if epoch == 0:
            first = len(recorded)
    assert len(recorded) == first


def test_of_many_shapes_the_one_that_is_used_is_not_forgotten(recorded, monkeypatch):
    monkeypatch.setattr(capturing, "MOST_PLANS", 3)
    model, x = wide(), np.ones((60, 64), np.float32)
    for rows in range(1, 30):
        model.predict(x[:1])
        model.predict(x[:rows])
    assert len(recorded) == 29


# Models that have layers in common ----------------------------------------------------------------


def shared(backend, capture=True, dtype="float64"):
    """Return two models with a layer in common, and an optimizer for each."""
    common, options = npnn.Dense(6, 4), {"backend": backend, "dtype": dtype, "capture": capture}
    one = npnn.Sequential([common, npnn.Tanh(), npnn.Dense(4, 2)], seed=0, **options)
    two = npnn.Sequential([common, npnn.Sigmoid(), npnn.Dense(4, 2)], seed=1, **options)
    return one, two, trainer(one), trainer(two)


@pytest.mark.parametrize("backend", BACKENDS)
def test_models_that_are_trained_in_turn_are_recorded_once(backend, recorded):
    one, two, *optimizers = shared(backend)
    for turn in range(6):
        for model, optimizer in zip((one, two), optimizers, strict=True):
            optimizer.step(X, T)
            model.predict(X)
        if turn == 1:
            first = len(recorded)
    assert len(recorded) == first


@pytest.mark.later("jax")
def test_models_that_are_trained_in_turn_train_as_they_do_uncaptured(backend_name):
    def trained(capture, backend):
        one, two, *optimizers = shared(backend, capture)
        found = []
        for _ in range(4):
            for model, optimizer in zip((one, two), optimizers, strict=True):
                optimizer.step(X, T)
                found.append(model.chain.get_loss())
                found.extend(np.asarray(m.backend.to_numpy(m.predict(X))) for m in (one, two))
        one.fit(X, T, epochs=2, batch_size=5)
        two.fit(X, T, epochs=2, batch_size=5)
        one.layers[0].w = one.layers[0].w * 0.5
        two.fit(X, T, epochs=1, batch_size=5)
        return [*found, *(np.asarray(m.backend.to_numpy(m.predict(X))) for m in (one, two))]

    plain = "numpy" if backend_name == "jax" else backend_name  # which compiles each operation
    for ours, expected in zip(trained(True, backend_name), trained(False, plain), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


def test_weights_that_are_exchanged_by_hand_stay_what_they_are():
    models = [npnn.Sequential([npnn.Dense(6, 2)], seed=seed, dtype="float64") for seed in (0, 1)]
    optimizers = [trainer(model) for model in models]
    for optimizer in optimizers:
        optimizer.step(X, T)
    layers = [model.layers[0] for model in models]
    before = [np.array(layer.w) for layer in layers]
    layers[0].w, layers[1].w = layers[1].w, layers[0].w
    models[0].chain.reset()
    optimizers[0].alpha = optimizers[1].alpha = 1e-37
    for optimizer in optimizers:
        optimizer.step(X, T)
    np.testing.assert_array_equal(layers[0].w, before[1])
    np.testing.assert_array_equal(layers[1].w, before[0])


class Adversaries:
    """A generator, and a critic that is frozen while the generator is trained through it."""

    def __init__(self, backend, capture=True):
        options = {"backend": backend, "dtype": "float64", "capture": capture}
        self.generator = npnn.Sequential([npnn.Dense(6, 8), npnn.Tanh(), npnn.Dense(8, 2)], seed=0)
        layers = [npnn.Dense(2, 8), npnn.Tanh(), npnn.Dense(8, 1), npnn.Sigmoid()]
        self.generator = npnn.Sequential(list(self.generator.layers), seed=0, **options)
        self.critic = npnn.Sequential(layers, seed=1, **options)
        self.of_critic = trainer(self.critic, npnn.BinaryCrossEntropyLoss())
        self.both = npnn.Sequential([self.generator, self.critic], **options)
        self.of_generator = trainer(self.both, npnn.BinaryCrossEntropyLoss())

    def step(self):
        false = self.generator.predict(X)
        to_numpy = self.generator.backend.to_numpy
        self.critic.trainable = True
        self.of_critic.step(np.concatenate([to_numpy(false), T]), np.arange(32) // 16)
        self.critic.trainable = False
        self.of_generator.step(X, np.ones(16))

    def losses(self):
        return [self.critic.chain.get_loss(), self.both.chain.get_loss()]


@pytest.mark.parametrize("backend", BACKENDS)
def test_adversaries_are_recorded_once(backend, recorded):
    adversaries = Adversaries(backend)
    for turn in range(6):
        adversaries.step()
        if turn == 1:
            first = len(recorded)
    assert len(recorded) == first


@pytest.mark.parametrize("backend", [*BACKENDS, "torch"])
def test_adversaries_train_as_they_do_uncaptured(backend):
    pytest.importorskip(backend)
    ours, plain = Adversaries(backend), Adversaries(backend, capture=False)
    for _ in range(6):
        for adversaries in (ours, plain):
            adversaries.step()
        np.testing.assert_allclose(ours.losses(), plain.losses(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("capture", [True, False], ids=["captured", "uncaptured"])
def test_a_model_within_a_model_is_frozen_and_thawed_at_any_time(capture, backend_name):
    inner = npnn.Sequential([npnn.Dense(6, 4), npnn.Tanh()], backend=backend_name)
    model = npnn.Sequential([inner, npnn.Dense(4, 2)], backend=backend_name, capture=capture)
    optimizer, changes = trainer(model), []
    for trainable in (True, False, True, True, False):
        inner.trainable = trainable
        before = np.array(model.backend.to_numpy(inner.layers[0].w))
        optimizer.step(X, T)
        after = model.backend.to_numpy(inner.layers[0].w)
        changes.append(not np.array_equal(before, after))
    assert changes == [True, False, True, True, False]


def test_a_setting_that_was_changed_for_good_leaves_no_recorded_step_behind(recorded):
    model = npnn.Sequential([npnn.Dense(6, 4), npnn.layers.Dropout(0.1), npnn.Dense(4, 2)])
    optimizer = trainer(model)
    for probability in (0.2, 0.3, 0.4, 0.5, 0.2):
        model.layers[1].probability = probability
        optimizer.step(X, T)
    assert len(recorded) == 5
    assert len(model.runner._sides) == 1
