"""check_gradients finds what is wrong, says where, and finds nothing where nothing is."""

import numpy as np
import pytest
from oracles import ACTIVATIONS, LAYERS, LOSSES, by_name
from test_layers import CASES, case_of
from test_own_layers import Embedding, Product, Recurrent

import npnn
from npnn import Dense, ReLU

RNG = np.random.default_rng(0)


class WrongWeight(Dense):
    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        self.grad_w = 2.0 * self.grad_w
        return grad_x


class WrongBias(Dense):
    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        self.grad_b[1] += 0.5
        return grad_x


class WrongInput(Dense):
    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        grad_x[0, 2] *= -1.0
        return grad_x


class WrongProduct(Product):
    def backward(self, grad_y):
        return {"a": grad_y * self.x["b"], "b": grad_y}


class WrongLoss(npnn.RMSLoss):
    def derivative(self, y, t):
        return 2.0 * (y - t)


class WrongAtLogits(npnn.CrossEntropyLoss):
    def canonical_derivative(self, y, t):
        return y - 0.9 * t


class WrongWay(npnn.layers.Residual):
    """Its parts are right, but it hands them a wrong gradient."""

    def backward(self, grad_y):
        return grad_y + 0.5 * self.layers.backward(2.0 * grad_y)


class NoGradient(Dense):
    def backward(self, grad_y):
        grad_x = super().backward(grad_y)
        del self.grad_b
        return grad_x


class WrongMask(npnn.Dropout):
    def backward(self, grad_y):
        return grad_y


def parts():
    return {"a": RNG.standard_normal((2, 3)), "b": RNG.standard_normal((2, 3))}


WRONG = {
    "weight": (lambda: WrongWeight(3, 2), None, r"WrongWeight: .*'w' is wrong .* 6 of 6 are wrong"),
    "bias": (lambda: WrongBias(3, 4), None, r"parameter 'b' is wrong at index \(1,\): .* 1"),
    "input": (lambda: WrongInput(3, 2), None, r"its input is wrong at index \(0, 2\): .* 1 of 9"),
    "one of two inputs": (WrongProduct, parts(), r"by its input\['b'\] is wrong at index"),
    "loss": (lambda: WrongLoss(3), None, r"WrongLoss: .* by its outputs \(derivative\) is wrong"),
    "logits": (lambda: WrongAtLogits(3), None, r"by the logits \(canonical_derivative\) is wrong"),
    "way": (lambda: WrongWay(Dense(3)), np.ones((2, 3)), r"WrongWay: .*'layers.0.w' is wrong"),
    "none": (lambda: NoGradient(3, 2), None, r"'b' is wrong: backward gave none, and shape \(2,\)"),
    "mask": (lambda: WrongMask(0.5, 8), None, r"WrongMask: the derivative by its input is wrong"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_derivative_is_named(case):
    construct, x, words = WRONG[case]
    with pytest.raises(npnn.GradientError, match=words):
        npnn.check_gradients(construct(), x)


@pytest.mark.parametrize("kind", [*ACTIVATIONS, *LAYERS], ids=by_name)
@pytest.mark.parametrize("training", [True, False])
def test_the_packages_layers_are_right(kind, training):
    for construct, shape in [(kind, (3,))] if kind in ACTIVATIONS else case_of(CASES, kind):
        x = RNG.standard_normal((3, *shape))
        x = np.abs(x) if kind is npnn.Sample else x
        errors = npnn.check_gradients(construct(), x, training=training)
        assert max(errors.values()) < 1.1e-5


@pytest.mark.parametrize("kind", LOSSES, ids=by_name)
def test_the_packages_losses_are_right(kind):
    assert max(npnn.check_gradients(kind(4)).values()) < 1e-6


def test_layers_of_ones_own_are_right_for_the_inputs_that_they_take():
    assert set(npnn.check_gradients(Embedding(5, 3), [[0, 1], [4, 1]])) == {"w"}
    assert set(npnn.check_gradients(Recurrent(3), RNG.standard_normal((2, 4, 2)))) == {
        "x", "u", "v",
    }  # fmt: skip
    assert len(npnn.check_gradients(Product(), parts())) == 2
    with pytest.raises(ValueError, match="give x"):
        npnn.check_gradients(Embedding(5, 3))


def autoencoder(last):
    encoder = npnn.Sequential([Dense(6, 5), npnn.Tanh(), npnn.Latent(4)], seed=0)
    decoder = npnn.Sequential([npnn.Sample(4), Dense(6), npnn.Sigmoid()], seed=0)
    encoder.chain = npnn.KullbackLeiblerLoss()
    encoder.chain.chain = decoder
    decoder.chain = last
    return encoder


def test_in_a_chain_each_link_is_looked_at():
    errors = npnn.check_gradients(autoencoder(npnn.BinaryCrossEntropyLoss()))
    assert {"0.w", "1.derivative", "2.1.w", "3.canonical_derivative"} <= errors.keys()
    with pytest.raises(npnn.GradientError, match=r"^link 3, WrongLoss: [^\n]*$"):
        npnn.check_gradients(autoencoder(WrongLoss()))


@pytest.mark.parametrize("rows", [3, 30])
def test_of_a_model_only_the_layer_that_is_wrong_is_named(rows):
    inner = npnn.Sequential([Dense(8, 8), WrongBias(8, 30)])
    model = npnn.Sequential([Dense(rows, 8), ReLU(), inner, npnn.Dropout(), Dense(3)], seed=0)
    model.layers = [*model.layers, npnn.Softmax()]
    model.chain = npnn.CrossEntropyLoss()
    before = {name: np.array(array) for name, array in model.parameters().items()}
    with pytest.raises(npnn.GradientError, match=r"^layer 2.1, WrongBias: [^\n]*\(1,\)[^\n]*$"):
        npnn.check_gradients(model, RNG.standard_normal((4, rows)), [0, 1, 2, 1])
    for name, array in model.parameters().items():
        np.testing.assert_array_equal(array, before[name])
    assert model.layers[0].w.dtype == "float32"


def test_a_wrong_number_among_thousands_is_found():
    class OneWrong(Dense):
        def backward(self, grad_y):
            grad_x = super().backward(grad_y)
            self.grad_w[17, 5] *= 1.01
            return grad_x

    with pytest.raises(npnn.GradientError, match=r"'w' is wrong at index \(17, 5\)"):
        npnn.check_gradients(OneWrong(60, 40))


def test_kinks_are_no_faults():
    assert npnn.check_gradients(ReLU(3), np.zeros((2, 3)))
    assert npnn.check_gradients(npnn.MaxPool(), np.ones((2, 4, 4, 1)))
    assert npnn.check_gradients(npnn.L1Loss(3), np.zeros((2, 3)), np.zeros((2, 3)))
    wide = npnn.Sequential([Dense(50, 300), ReLU(), Dense(300), ReLU(), Dense(2)], seed=0)
    assert npnn.check_gradients(wide, RNG.standard_normal((20, 50)))
    assert npnn.check_gradients(wide, np.zeros((3, 50)))


def test_a_model_is_checked_wherever_it_lies(backend_name):
    model = npnn.Sequential([Dense(3, 4), npnn.Softmax()], backend=backend_name, seed=0)
    model.chain = npnn.CrossEntropyLoss()
    assert max(npnn.check_gradients(model).values()) < 1e-5


def test_what_is_no_layer_or_does_not_fit_is_refused():
    with pytest.raises(TypeError, match="what is checked must be a Layer"):
        npnn.check_gradients("Dense")
    with pytest.raises(ValueError, match=r"the shape of what comes to .* is not known: give x"):
        npnn.check_gradients(ReLU())
    with pytest.raises(ValueError, match=r"takes inputs of shape \(3,\), but is given \(4,\)"):
        npnn.check_gradients(Dense(3, 2), np.ones((2, 4)))
