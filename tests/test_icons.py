"""The icons, and MNIST at half its size."""

import gzip

import numpy as np
import pytest

import npnn
from npnn.datasets import MNIST, FourSmallIcons, FourSteppedIcons, TwoSteppedIcons
from npnn.layers import Conv2D, Flatten, MaxPool

ICONS = [
    (FourSmallIcons, 3, ("plus", "times", "ring", "tee")),
    (TwoSteppedIcons, 4, ("plus", "times")),
    (FourSteppedIcons, 8, ("plus", "times", "ring", "tee")),
]
EACH = pytest.mark.parametrize(
    ("kind", "size", "names"), ICONS, ids=[kind.__name__ for kind, _, _ in ICONS]
)


@EACH
def test_icons_are_a_dataset_of_images(kind, size, names):
    data = kind(seed=0)
    assert (data.task, data.class_names) == ("classification", names)
    assert data.shape_in == (size, size, 1)
    assert data.shape_out == (len(names),)
    assert data.x_data.dtype == np.float32
    assert data.num_train_data == round(0.7 * len(data.x_data))
    x, t, c = data.get_train_batch(8)
    assert (x.shape, t.shape, c.shape) == ((8, size, size, 1), (8, len(names)), (8,))


@EACH
def test_without_noise_each_image_holds_the_icon_of_its_class_somewhere(kind, size, names):
    del names
    icons = FourSmallIcons(num_data=4, noise=0.0).x_data[..., 0]
    data = kind(seed=1, noise=0.0)
    places = set()
    for image, label in zip(data.x_data[..., 0], data.c_data, strict=True):
        row, column = (int(np.argmax(image.any(axis=axis))) for axis in (1, 0))
        np.testing.assert_array_equal(image[row : row + 3, column : column + 3], icons[label])
        assert image.sum() == icons[label].sum()
        places.add((row, column))
    assert len(places) == (size - 2) ** 2


@EACH
def test_a_seed_repeats_the_images_and_the_noise_is_as_asked(kind, size, names):
    del size, names
    one, two, other = kind(seed=3), kind(seed=3), kind(seed=4)
    np.testing.assert_array_equal(one.x_data, two.x_data)
    assert not np.array_equal(one.x_data, other.x_data)
    difference = kind(seed=3, noise=0.5).x_data - kind(seed=3, noise=0.0).x_data
    assert difference.std() == pytest.approx(0.5, rel=0.05)
    np.testing.assert_array_equal(one.norm(np.array([0.0, 1.0])), [-1.0, 1.0])


@EACH
def test_what_is_out_of_range_is_refused(kind, size, names):
    del size
    with pytest.raises(ValueError, match=f"num_data must be at least {len(names)}"):
        kind(num_data=len(names) - 1)
    with pytest.raises(ValueError, match="noise must be a standard deviation from 0 up"):
        kind(noise=-0.1)


def test_a_convolution_knows_an_icon_wherever_it_is():
    data = FourSteppedIcons(seed=0, noise=0.1)
    layers = [
        Conv2D((8, 8, 1), 8, initializer="HeNormal"), npnn.ReLU(), MaxPool(None, None, 6),
        Flatten(), npnn.Dense(None, 4), npnn.Softmax(),
    ]  # fmt: skip
    model = npnn.Sequential(layers, seed=0)
    history = model.fit(data, epochs=12, optimizer=npnn.Adam(0.02), seed=0)
    assert history["val_accuracy"][-1] > 0.95


# MNIST -------------------------------------------------------------------------------------------


def write_idx(path, array):
    header = bytes([0, 0, 0x08, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", rng.integers(256, size=(40, 28, 28)))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.arange(40) % 10)
    return tmp_path


def test_mnist_at_half_its_size_is_averaged_over_its_area(folder):
    large, small = MNIST(folder, seed=0, flat=False), MNIST(folder, seed=0, flat=False, size=14)
    assert small.shape_in == (14, 14, 1)
    assert small.x_data.dtype == np.uint8
    means = large.x_data.astype(np.float64).reshape(40, 14, 2, 14, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(small.x_data[..., 0], means, atol=0.5)
    np.testing.assert_array_equal(small.c_train_data, large.c_train_data)
    assert small.norm.offset == pytest.approx(small.x_train_data.mean(), abs=0.01)
    assert small.norm.scale == pytest.approx(small.x_train_data.std(), abs=0.01)
    assert MNIST(folder, seed=0, size=14).shape_in == (196,)


def test_mnist_has_no_other_sizes(folder):
    with pytest.raises(ValueError, match="size must be 28 or 14, not 7"):
        MNIST(folder, size=7)
