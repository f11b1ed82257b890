"""Chains that train and can hardly be meant are told of, once; what is usual is not."""

import warnings

import numpy as np
import pytest

import npnn
from npnn import Dense, ReLU, Sequential, Sigmoid, Softmax, Tanh
from npnn.layers import (
    BatchNorm,
    Conv2D,
    Dropout,
    Flatten,
    GlobalAvgPool,
    LayerNorm,
    LeakyReLU,
    Linear,
    Parallel,
    Residual,
    Softplus,
    Swish,
)

X = np.random.default_rng(0).standard_normal((8, 4))
CLASSES = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def trained(layers, t, **how):
    """Train a model in whatever way, and return what it warned of."""
    model = Sequential(layers, seed=0)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if how.pop("step", False):
            model.chain, optimizer = npnn.losses.default_loss(model), npnn.Adam()
            optimizer.model = model
            optimizer.step(X, t)
            optimizer.step(X, t)
        else:
            model.fit(X, t, epochs=2, **how)
            model.fit(X, t, epochs=1, **how)
    return [str(warning.message) for warning in told]


PAIRS = {
    "twice": [Dense(4, 3), Softmax(), Softmax()],
    "sigmoid": [Dense(4, 3), Sigmoid(), Softmax()],
    "rectified": [Dense(4, 3), ReLU(), Softmax()],
    "softplus": [Dense(4, 3), Softplus(), Softmax()],
    "tanh": [Dense(4, 3), Tanh(), Softmax()],
    "by name": [Dense(4, 3, activation="relu"), Softmax()],
    "with others between": [Dense(4, 3), ReLU(), Flatten(), Dropout(0.1), Linear(), Softmax()],
    "nested": [Dense(4, 3), Sequential([ReLU()]), Sequential([Softmax()])],
    "in a branch": [
        Parallel([[Dense(4, 3), Softmax(), ReLU()], Dense(4, 3)]), Dense(6, 3), Softmax()
    ],
    "in a residual": [Residual([Dense(4, 4), Softmax(), Sigmoid()]), Dense(4, 3), Softmax()],
    "hidden": [Dense(4, 3), Sigmoid(), ReLU(), Dense(3, 3), Softmax()],
    "leaky": [Dense(4, 3), Softmax(), LeakyReLU(), Dense(3, 3), Softmax()],
}  # fmt: skip


@pytest.mark.parametrize("case", PAIRS)
@pytest.mark.parametrize("step", [False, True])
def test_activations_that_undo_each_other_are_told_of_once(case, step):
    (told,) = [
        text for text in trained(PAIRS[case], CLASSES, step=step) if "one of the two" in text
    ]
    assert "can make little of those: leave one of the two out" in told


def test_a_sigmoid_that_cannot_say_no_is_told_of():
    for before in (ReLU(), Softplus(), Swish(), Tanh()):
        (told,) = trained([Dense(4, 1), before, Sigmoid()], CLASSES > 0)
        assert told.startswith(f"layer 1, {before!r}, gives numbers from ")


@pytest.mark.parametrize("layers", [
    lambda: [Dense(4, 3), Dropout(0.5)],
    lambda: [Dense(4, 3), Dropout(0.5), Linear()],
    lambda: [Dense(4, 3), Tanh(), Dropout(0.5)],
])  # fmt: skip
def test_dropout_of_the_outputs_is_told_of(layers):
    (told,) = trained(layers(), np.tanh(X[:, :3]))
    assert "Dropout(0.5), stands last, where it sets to 0 what is compared with the" in told


def test_dropout_of_logits_is_told_of():
    (told,) = trained([Dense(4, 3), Dropout(0.5), Softmax()], CLASSES)
    assert told.startswith("layer 1, Dropout(0.5), stands last")


def test_outputs_that_depend_on_the_batch_are_told_of():
    (told,) = trained([Dense(4, 3), BatchNorm()], X[:, :3])
    assert told.startswith("layer 1, BatchNorm(3), stands last, so that in training the outputs of")


@pytest.mark.parametrize(("layers", "t", "words"), [
    ([Dense(4, 1), Sigmoid()], 100.0 * np.abs(X[:, :1]), "from 0 to 1: leave it out"),
    ([Dense(4, 1), ReLU()], X[:, :1], "from 0 on: leave it out"),
    ([Dense(4, 2), Tanh(), Flatten()], 2.0 * X[:, :2], "from -1 to 1: leave it out"),
])  # fmt: skip
def test_targets_that_outputs_cannot_reach_are_told_of(layers, t, words):
    (told,) = trained(layers, t, loss=npnn.RMSLoss())
    assert told.startswith(f"targets are from {np.float32(t.min()):.6g} to ")
    assert words in told


@pytest.mark.parametrize("layer", [Softmax(), LayerNorm()])
def test_what_gives_the_same_whatever_comes_in_is_refused(layer):
    model = Sequential([Dense(4, 1), layer, Dense(1, 3), Softmax()])
    with pytest.raises(ValueError, match=r"layer 1, .*\(1\), gives the same whatever comes in"):
        model.fit(X, CLASSES)


USUAL = {
    "classifier": (
        [Dense(4, 8), BatchNorm(), ReLU(), Dropout(0.5), Dense(8, 3), Softmax()], CLASSES
    ),
    "normalised logits": ([Dense(4, 3), BatchNorm(), Softmax()], CLASSES),
    "leaky logits": ([Dense(4, 3), LeakyReLU(), Softmax()], CLASSES),
    "pixels rectified": (
        [npnn.layers.Shape((2, 2, 1)), Conv2D(None, 3, 1), ReLU(), GlobalAvgPool(), Flatten(),
         Softmax()], CLASSES,
    ),
    "counts": ([Dense(4, 1), ReLU()], np.abs(X[:, :1])),
    "about zero": ([Dense(4, 1), Softplus()], np.array([[-0.01], *[[5.0]] * 7])),
    "fractions": ([Dense(4, 2), Sigmoid()], (X[:, :2] > 0.0).astype(float)),
    "no dropout": ([Dense(4, 1), Dropout(0.0)], X[:, :1]),
    "gate": ([Dense(4, 4), ReLU(), Dense(4, 4), Sigmoid(), Dense(4, 1)], X[:, :1]),
    "normalised code": ([Dense(4, 2), BatchNorm(), Dense(2, 4)], X),
}  # fmt: skip


@pytest.mark.parametrize("case", USUAL)
def test_what_is_usual_is_not_told_of(case):
    assert trained(*USUAL[case]) == []


def test_a_warning_that_is_an_error_comes_before_anything_is_changed():
    model = Sequential([Dense(4, 3), Softmax(), Softmax()], seed=0)
    before = {name: np.array(array) for name, array in model.parameters().items()}
    with pytest.raises(UserWarning, match="leave one of the two out"):  # as pytest is told to
        model.fit(X, CLASSES)
    assert model.chain is None
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(array, before[name])
