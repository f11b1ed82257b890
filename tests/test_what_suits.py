"""Losses behind layers that do not suit them, and classes of what tells none."""

import numpy as np
import pytest

import npnn
from npnn import Dense, Flatten, Sequential, Softmax, Softplus
from npnn.layers import AvgPool, Dropout, GlobalAvgPool, Latent, MaxPool, Parallel, ReLU, Sigmoid

CE, BCE, KL = npnn.CrossEntropyLoss, npnn.BinaryCrossEntropyLoss, npnn.KullbackLeiblerLoss
X = np.random.default_rng(0).standard_normal((8, 4))
CLASSES = np.array([0, 1, 2, 0, 1, 2, 0, 1])


class Same(npnn.Layer):
    def forward(self, x):
        return x

    def backward(self, grad_y):
        return grad_y


class OwnSoftplus(Softplus):
    """Nothing is known of a subclass."""


def pixels():
    return Dense(4, (2, 2, 3))


WRONG = {
    "dropout of logits": (CE, lambda: [Dense(4, 3), Dropout()], "layer 0, Dense.*put npnn.Softmax"),
    "dropout of probabilities": (
        CE, lambda: [Dense(4, 3), Softmax(), Dropout()],
        r"layer 2, Dropout\(0.5\), sets some of them to 0 .*: put it before, and npnn.Softmax\(\)",
    ),
    "dropout of fractions": (BCE, lambda: [Dense(4, 3), Sigmoid(), Dropout()], "layer 2, Dropout"),
    "own layer": (CE, lambda: [Dense(4, 3), Same()], r"layer 1, Same\(\), gives a -.*npnn.Softmax"),
    "own softplus": (CE, lambda: [Dense(4, 3), OwnSoftplus()],
                     "layer 1, OwnSoftplus.*gives .*put npnn.Softmax"),
    "own, nested": (
        BCE, lambda: [Dense(4, 3), Sequential([Same(), Flatten()])], r"layer 1.0, Same\(\), gives a"
    ),
    "branches": (CE, lambda: [Parallel([Dense(2), Dense(1)], 4)], "layer 0, Parallel.*any size"),
    "branches of Softmax": (
        CE, lambda: [Parallel([[Dense(2), Softmax()], [Dense(2), Softmax()]], 4)], "need not sum"
    ),
    "unequal branches": (
        BCE, lambda: [Parallel([[Dense(2), Sigmoid()], Dense(1)], 4)], "layer 0, Parallel.* gives a"
    ),
    "mean of pixels": (CE, lambda: [pixels(), ReLU(), GlobalAvgPool()], "layer 1, ReLU.*any size"),
    "largest pixels": (BCE, lambda: [pixels(), MaxPool(), Flatten()], "Dense.*npnn.Sigmoid"),
    "largest of each": (CE, lambda: [pixels(), Softmax(), MaxPool(), Flatten()], "need not sum"),
    "means and variances": (CE, lambda: [Latent(4, 4)], "layer 0, Latent.*means and variances"),
    "one probability": (CE, lambda: [Dense(4, 1), Softmax()], "gives 1 whatever .*npnn.Sigmoid"),
    "one number": (npnn.RMSLoss, lambda: [Dense(4, 1), Softmax()], "gives 1 whatever comes in"),
    "no variance": (KL, lambda: [Dense(4, 4)], r"layer 0, Dense.*put npnn.Latent\(...\) last"),
    "KLDivLoss": (KL, lambda: [Dense(4, 4), Softmax()], "or take CrossEntropyLoss"),
    "lost variance": (KL, lambda: [Latent(4, 4), ReLU()], "layer 1, ReLU.*put npnn.Latent"),
    "own variance": (KL, lambda: [Dense(4, 4), Same()], r"Same\(\), gives a variance of -"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("way", ["fit", "step", "evaluate"])
def test_a_loss_that_does_not_suit_names_the_layer_to_add(case, way):
    kind, layers, words = WRONG[case]
    model = Sequential(layers(), seed=0)
    before = {name: np.array(array) for name, array in model.parameters().items()}
    t = CLASSES % 3 if kind is CE else np.ones((8, model.shape_out[-1]))
    model.chain, optimizer = kind(), npnn.Adam()
    optimizer.model = model
    run = {"fit": model.fit, "step": optimizer.step, "evaluate": model.evaluate}[way]
    with pytest.raises(ValueError, match=words):
        run(X, t)
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(array, before[name])


RIGHT = {
    "own layer behind": (CE, lambda: [Dense(4, 3), Softmax(), Same()]),
    "mean of probabilities": (CE, lambda: [pixels(), Softmax(), GlobalAvgPool()]),
    "mean of fractions": (BCE, lambda: [pixels(), Sigmoid(), AvgPool(), Flatten()]),
    "branches": (BCE, lambda: [Parallel([[Dense(2), Sigmoid()], [Dense(1), Sigmoid()]], 4)]),
    "heads": (KL, lambda: [Parallel([Dense(2), [Dense(2), Softplus()]], 4)]),
    "heads, flat": (KL, lambda: [Latent(4, 4), Flatten()]),
}


@pytest.mark.parametrize("case", RIGHT)
def test_a_loss_that_suits_trains(case):
    kind, layers = RIGHT[case]
    model = Sequential(layers(), seed=0)
    t = CLASSES if kind is CE else np.ones((8, *model.shape_out))
    history = model.fit(X, t, loss=kind(), epochs=2)
    assert np.isfinite(history["loss"]).all()


def test_logits_by_name_are_told_what_to_write():
    for kind in (CE, BCE):
        with pytest.raises(TypeError, match=r"from_logits.*put Softmax or Sigmoid last"):
            kind(from_logits=True)


@pytest.mark.parametrize("layers", [
    lambda: [Dense(4, 2)],
    lambda: [Dense(4, 2), Dropout()],
    lambda: [Dense(4, 2), Softplus()],
    lambda: [Dense(4, 2), Same()],
    lambda: [Latent(4, 4)],
    lambda: [Parallel([Dense(1), Dense(1)], 4)],
    lambda: [pixels(), Softmax(), Flatten()],
])  # fmt: skip
def test_there_is_no_class_of_numbers(layers):
    model = Sequential(layers(), seed=0)
    model.chain = npnn.RMSLoss()
    optimizer = npnn.Adam()
    optimizer.model = model
    for predict_class in (model.predict_class, optimizer.predict_class):
        with pytest.raises(ValueError, match="predict_class"):
            predict_class(X)


def test_answers_are_of_classes_or_each_by_itself():
    sigmoids = Sequential([Dense(4, 3), Sigmoid(), Same()], seed=0)
    sigmoids.chain = BCE()
    np.testing.assert_array_equal(sigmoids.predict_class(X), sigmoids.predict(X) > 0.5)
    classes = Sequential([Dense(4, 3), Softmax(), Same()], seed=0)
    np.testing.assert_array_equal(classes.predict_class(X), classes.predict(X).argmax(axis=1))
