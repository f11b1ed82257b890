"""The latent layers and a variational autoencoder of them."""

import numpy as np
import pytest
from layer_checks import (
    assert_captured_is_eager,
    assert_gradients_are_those_of_central_differences,
    built,
    plain_backend,
)
from oracles import host_parameters

import npnn
from npnn.layers import Latent, Sample
from npnn.losses import KullbackLeiblerLoss


def test_the_gradients_of_latent_are_those_of_central_differences(backend):
    layer = built(Latent(None, 4), (3,), backend)
    x = np.random.default_rng(0).standard_normal((3, 3))
    assert_gradients_are_those_of_central_differences(layer, x, backend)


@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_of_a_sample_is_that_of_central_differences(training, backend):
    layer = built(Sample(), (2, 4), backend, training=training)
    x = np.random.default_rng(1).uniform(0.5, 2.0, (4, 2, 4))
    assert_gradients_are_those_of_central_differences(layer, x, backend)


def test_latent_is_means_and_positive_variances(backend):
    layer = built(Latent(3, 4), (3,), backend)
    x = np.random.default_rng(2).normal(0.0, 5.0, (50, 3))
    y = backend.to_numpy(layer.forward(backend.asarray(x)))
    (w0, b0), (w1, b1) = (
        [backend.to_numpy(getattr(head.layers[0], name)) for name in "wb"]
        for head in layer.branches
    )
    assert layer.shape_out == (4,)
    np.testing.assert_allclose(y[:, :2], x @ w0 + b0, atol=1e-12)
    np.testing.assert_allclose(y[:, 2:], np.logaddexp(0.0, x @ w1 + b1), atol=1e-12)
    assert (y[:, 2:] > 0.0).all()


def test_samples_have_the_mean_and_the_variance_that_come_in():
    layer = Sample()
    assert layer.build(4) == (2,)
    assert layer.noise_shape == (2,)
    layer.training = True
    layer.random = np.random.default_rng(3).standard_normal((100_000, 2))
    z = layer.forward(np.broadcast_to([1.0, -2.0, 4.0, 0.25], (100_000, 4)))
    np.testing.assert_allclose(z.mean(axis=0), [1.0, -2.0], atol=0.03)
    np.testing.assert_allclose(z.var(axis=0), [4.0, 0.25], rtol=0.03)


def test_outside_training_a_sample_is_its_mean(backend):
    layer = built(Sample(), (4,), backend)
    z = layer.forward(backend.asarray([[1.0, 2.0, 3.0, 4.0]]))
    np.testing.assert_array_equal(backend.to_numpy(z), [[1.0, 2.0]])


def test_a_captured_step_computes_what_the_plain_one_does(captured_on):
    assert_captured_is_eager(lambda: [Latent(None, 6), Sample()], (3,), captured_on)


def variational_autoencoder(backend="numpy", **options):
    encoder = npnn.Sequential(
        [npnn.Dense(4, 6), npnn.Tanh(), Latent(None, 4)], backend=backend, seed=0, **options
    )
    decoder = npnn.Sequential([Sample(4), npnn.Dense(None, 4)], backend=backend, seed=1, **options)
    kl = KullbackLeiblerLoss(beta=0.1)
    encoder.chain, kl.chain, decoder.chain = kl, decoder, npnn.RMSLoss()
    return encoder, kl, decoder


def test_a_variational_autoencoder_learns_and_captured_it_is_the_same(captured_on):
    def run(backend, capture):
        encoder, kl, decoder = variational_autoencoder(backend, dtype="float64", capture=capture)
        optimizer = npnn.Adam(0.01)
        optimizer.model = encoder
        rng, losses = np.random.default_rng(5), []
        for _ in range(20):
            code = rng.standard_normal((16, 2))
            x = np.concatenate([code, code], axis=1)
            optimizer.step(x, x)
            losses.append(kl.get_loss() + decoder.chain.get_loss())
        return [*host_parameters(encoder).values(), *host_parameters(decoder).values(), losses]

    ours, plain = run(captured_on, True), run(plain_backend(captured_on), False)
    for actual, expected in zip(ours, plain, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10)
    assert np.mean(ours[-1][-5:]) < np.mean(ours[-1][:5])


def test_an_encoder_survives_its_file(tmp_path):
    encoder, _, _ = variational_autoencoder()
    encoder.save(tmp_path / "model.safetensors")
    loaded = npnn.load(tmp_path / "model.safetensors")
    x = np.random.default_rng(6).standard_normal((2, 4))
    np.testing.assert_array_equal(loaded.predict(x), encoder.predict(x))
    assert repr(loaded.layers[2]) == "Latent(6, 4)"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Latent(shape_in=3), TypeError, "Latent needs shape_out"),
        (lambda: Latent(3, 5), ValueError, "even last axis, such as 6, not 5"),
        (lambda: Sample().build(3), ValueError, "even last axis, such as 4, not 3"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
