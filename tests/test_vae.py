"""The variational autoencoder of the examples: what its plane holds, on every backend."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from npnn.datasets import FourSmallIcons

pytest.importorskip("matplotlib")
PROGRAM = Path(__file__).parent.parent / "examples" / "vae.py"


def trained(monkeypatch, folder, **options):
    """Return what the program has computed."""
    arguments = [f"--{name}={value}" for name, value in {**options, "output": folder}.items()]
    monkeypatch.setattr(sys, "argv", [str(PROGRAM), *arguments])
    return runpy.run_path(str(PROGRAM), run_name="__main__")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield trained(patch, tmp_path_factory.mktemp("vae"))


@pytest.fixture(scope="module")
def icons():
    """The four icons without noise, by class."""
    data = FourSmallIcons(num_data=4, noise=0.0)
    return data.x_data[np.argsort(data.c_data)]


def codes(program, images):
    encoder = program["encoder"]
    return encoder.backend.to_numpy(encoder.predict(images))[:, :2]


def test_a_nearest_mean_tells_the_codes_of_the_icons_apart(program):
    dataset = program["dataset"]
    known = codes(program, dataset.x_train_data)
    centres = np.stack([known[dataset.c_train_data == c].mean(axis=0) for c in range(4)])
    new = codes(program, dataset.x_validation_data)
    nearest = ((new[:, None] - centres) ** 2).sum(axis=-1).argmin(axis=-1)
    assert (nearest == dataset.c_validation_data).mean() >= 0.99


def test_samples_of_the_codes_are_painted_as_their_icons(program, icons):
    encoder, decoder, dataset = program["encoder"], program["decoder"], program["dataset"]
    latent = encoder.backend.to_numpy(encoder.predict(dataset.x_validation_data))
    means, variances = latent[:, :2], latent[:, 2:]
    noise = np.random.default_rng(0).standard_normal(means.shape)
    samples = np.concatenate([means + np.sqrt(variances) * noise, variances], axis=1)
    painted = decoder.backend.to_numpy(decoder.predict(samples)) > 0.5
    wrong = (painted != (icons[dataset.c_validation_data] > 0.5)).any(axis=(1, 2, 3))
    assert wrong.mean() <= 0.05


def test_new_points_of_the_plane_are_painted_as_one_of_the_four(program, icons):
    decoder = program["decoder"]
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.standard_normal((400, 2)), np.ones((400, 2))], axis=1)
    painted = decoder.backend.to_numpy(decoder.predict(points))
    distance = np.abs(painted[:, None] - icons).max(axis=(2, 3, 4)).min(axis=1)
    assert (distance < 0.5).mean() >= 0.8
    seen = np.abs(painted[:, None] - icons).max(axis=(2, 3, 4)).argmin(axis=1)
    assert set(seen[distance < 0.5]) == {0, 1, 2, 3}


@pytest.mark.later
def test_the_losses_go_down_alike_on_all_backends(program, backend_name, tmp_path, monkeypatch):
    history = trained(monkeypatch, tmp_path, backend=backend_name, epochs=5)["history"]
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    expected = program["history"]
    for name in ("loss", "loss_0", "loss_1"):
        np.testing.assert_allclose(history[name], expected[name][:5], rtol=1e-4)
