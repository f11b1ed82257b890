"""Random models of all kinds of layers: they train as they do uncaptured, down their gradients.

Each number makes another one. ``NPNN_RANDOM=2000`` makes so many, and lets 10,000 go.
"""

import gc
import os
import threading
import tracemalloc

import numpy as np
import pytest
from graphs import interpreted
from oracles import LOSSES, OPTIMIZERS
from test_capture import BACKENDS, KINDS, OPTIONS, assert_close, resident, within

import npnn
from npnn.backends.cpu import loops
from npnn.layers import BatchNorm, Dropout, Parallel, Residual

pytestmark = pytest.mark.filterwarnings("ignore:layer .* leave one of the two out:UserWarning")
MODELS = int(os.environ.get("NPNN_RANDOM", "16"))
WIDTH = 5


class Recipe:
    """A random model, and how it is trained; made again, it is the same."""

    def __init__(self, number):
        self.number = number
        rng = np.random.default_rng([7, number])
        self.loss, self.optimizer = rng.choice(LOSSES), rng.choice(OPTIMIZERS)
        self.options = OPTIONS[rng.integers(len(OPTIONS))]
        self.sizes = [int(size) for size in rng.integers(3, 9, rng.integers(2, 5))]
        self.weighted = bool(rng.integers(2))
        self.classes = bool(rng.integers(2)) and self.loss.takes_classes

    def model(self, **options):
        rng = np.random.default_rng([8, self.number])
        shared = npnn.Dense(WIDTH, WIDTH)
        layers = [npnn.Dense(3, WIDTH)]
        for _ in range(rng.integers(1, 4)):
            layers += self._piece(rng, shared, 0)
        last = npnn.Softmax() if self.loss is npnn.CrossEntropyLoss else npnn.Sigmoid()
        model = npnn.Sequential(
            [*layers, npnn.Dense(None, 2), last], dtype="float64", seed=self.number, **options
        )
        model.chain = self.loss()
        return model

    def _piece(self, rng, shared, depth):
        """Return layers of which WIDTH numbers make as many."""
        kind = rng.integers(7 if depth < 2 else 4)
        if kind == 0:
            return [shared, npnn.Tanh()]
        if kind == 1:
            return [npnn.Tanh(), BatchNorm(), npnn.Dense(None, WIDTH)]
        if kind == 2:
            return [Dropout(0.3), npnn.Dense(None, WIDTH), npnn.LeakyReLU()]
        if kind == 3:
            return [*within(rng.choice(KINDS)), npnn.Dense(None, WIDTH)]
        inner = [self._piece(rng, shared, depth + 1) for _ in range(2)]
        if kind == 4:
            return [npnn.Sequential(inner[0], seed=depth, dtype="float64")]
        if kind == 5:
            return [Residual(inner[0])]
        return [Parallel(inner), npnn.Dense(None, WIDTH)]

    def batch(self, size, seed):
        rng = np.random.default_rng(seed)
        x, t = rng.standard_normal((size, 3)), rng.integers(2, size=size)
        w = rng.uniform(0.5, 2.0, size) if self.weighted else None
        return x, t if self.classes else np.eye(2)[t], w

    def trained(self, **options):
        """Return what training leaves, and what it measured on the way."""
        model, optimizer = self.model(**options), self.optimizer(alpha=1e-3, **self.options)
        optimizer.model = model
        found = []
        for number, size in enumerate(self.sizes * 2):
            x, t, w = self.batch(size, number)
            optimizer.step(x, t, w=w)
            found += [model.chain.get_loss(), model.predict(x)]
        x, t, w = self.batch(11, 99)
        model.fit(x, t, w=w, epochs=2, batch_size=4, optimizer=optimizer)
        found.append(model.evaluate(x, t, w)["loss"])
        arrays = {**model.parameters(), **model.state()}.values()
        return [np.array(array) for array in (*arrays, *found)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_random_models_train_as_they_do_uncaptured(backend, monkeypatch):
    monkeypatch.setattr(loops, "_compiled", interpreted)
    for number in range(MODELS if backend == "numpy" else MODELS // 5):
        recipe = Recipe(number)
        with np.errstate(all="ignore"):
            ours = recipe.trained(backend=backend)
            expected = recipe.trained(backend=backend, capture=False)
        try:
            assert_close(ours, expected, 1e-8)
        except AssertionError as error:
            error.add_note(f"model {number}: {recipe.model()!r}, {vars(recipe)}")
            raise


def test_gradients_of_random_models_are_those_of_central_differences():
    for number in range(MODELS):
        recipe = Recipe(number)
        model = recipe.model()
        optimizer = npnn.GradientDescent(alpha=1.0)
        optimizer.model = model
        x, t, w = recipe.batch(recipe.sizes[0], number)
        rng = np.random.default_rng(number)
        start = {n: np.array(a) for n, a in model.state().items()}
        for name, array in model.parameters().items():  # a bias of 0 is a kink of ReLU
            start[name] = array + rng.normal(0.0, 0.1, array.shape)

        def step(changes, of=(model, optimizer, x, t, w, start)):
            """Return the loss of a training step, and the parameters after it."""
            model, optimizer, x, t, w, start = of
            model.set_arrays({n: a + changes.get(n, 0.0) for n, a in start.items()})
            model.rng = np.random.default_rng(5)
            optimizer.step(x, t, w=w)
            return model.chain.get_loss(), {n: np.array(a) for n, a in model.parameters().items()}

        _, after = step({})
        gradient = {name: start[name] - array for name, array in after.items()}
        errors = []
        for seed in range(3):  # where one goes across a kink, another one does not
            rng = np.random.default_rng(seed)
            ways = {name: rng.standard_normal(array.shape) for name, array in gradient.items()}
            expected = sum(float(np.vdot(gradient[name], way)) for name, way in ways.items())
            size = 1e-6
            above, below = (
                step({name: sign * size * way for name, way in ways.items()})[0]
                for sign in (1.0, -1.0)
            )
            slope = (above - below) / (2.0 * size)
            errors.append(abs(slope - expected) / max(abs(slope), abs(expected), 1e-2))
        assert min(errors) < 1e-5, (number, errors, model, recipe.loss)


def dropped(number):
    """Make a model, train it a little, and let it go."""
    layers = [npnn.Dense(3, 4), npnn.Tanh(), BatchNorm(), npnn.Dense(4, 2), npnn.Softmax()]
    model = npnn.Sequential(layers, seed=number)
    x, t = np.ones((4, 3)), np.arange(4) % 2
    model.fit(x, t, epochs=1, batch_size=4)
    model.predict(x)


@pytest.mark.later
def test_models_that_were_dropped_leave_nothing():
    count = 5 * MODELS if "NPNN_RANDOM" in os.environ else 50

    def run(numbers):
        for number in numbers:
            dropped(number)
        gc.collect()

    run(range(30))
    threads = threading.active_count()
    before = resident() if os.path.exists("/proc/self/statm") else 0
    run(range(count))
    if before:
        assert resident() - before < 8 << 20
    tracemalloc.start()
    try:
        run(range(5))
        traced, _ = tracemalloc.get_traced_memory()
        run(range(25))  # of which each has more than 20 kB, and Python keeps small things for later
        assert tracemalloc.get_traced_memory()[0] - traced < 25 << 10
    finally:
        tracemalloc.stop()
    assert threading.active_count() == threads
