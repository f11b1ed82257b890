"""Datasets: splits, batches, generated points, shipped digits, IDX files and users' tables."""

from __future__ import annotations

import gzip
import json
import struct
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import npnn
import npnn.datasets as nd
from npnn.errors import MissingError
from npnn.normalization import Normalization

POINTS = [
    nd.XORBinClasses,
    nd.XORTwoClasses,
    nd.XORFunction,
    nd.ANDFunction,
    nd.NoisyLinear,
    nd.NoisySine,
]
MNIST_FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "mnist"


def line(num=100, **options):
    x = np.arange(num, dtype=np.float64)
    return nd.Dataset(x, 2 * x + 1, **options)


# ---------------------------------------------------------------------------- the base class


def test_shapes_and_dtypes_of_regression():
    data = line(seed=3)
    assert data.task == "regression"
    assert (data.num_train_data, data.num_validation_data) == (70, 30)
    assert data.x_data.shape == data.y_data.shape == (100, 1)
    assert data.x_data.dtype == data.y_data.dtype == np.float32
    assert (data.shape_in, data.shape_out) == ((1,), (1,))
    assert data.c_data is data.c_train_data is data.c_validation_data is None
    assert data.class_names is None
    inputs, targets, classes = data.get_train_batch()
    assert inputs.shape == (8, 1)
    assert classes is None
    np.testing.assert_array_equal(targets, 2 * inputs + 1)


def test_the_split_is_a_partition():
    data = line()
    both = np.concatenate([data.x_train_data, data.x_validation_data])
    np.testing.assert_array_equal(np.sort(both[:, 0]), data.x_data[:, 0])


def test_labels_become_one_hot():
    data = nd.Dataset(np.eye(4), [0, 2, 1, 2], task="classification", train_fraction=0.5)
    np.testing.assert_array_equal(data.y_data, [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1]])
    assert data.c_data.dtype == np.int64
    assert data.c_data.tolist() == [0, 2, 1, 2]
    assert data.class_names == ("0", "1", "2")


def test_class_names_may_announce_a_class_without_samples():
    data = nd.Dataset(np.eye(4), [0, 1, 0, 1], task="classification", class_names=list("abc"))
    assert data.shape_out == (3,)


@pytest.mark.parametrize(
    ("t", "task"),
    [
        ([[1, 0], [0, 1], [1, 0]], "classification"),
        ([[1, 0], [1, 1], [1, 0]], "regression"),
        ([[1], [0], [1]], "binary"),
        ([True, False, True], "binary"),
        ([0, 1, 2], "regression"),
        ([0.5, 1, 0], "regression"),
    ],
)
def test_the_task_is_inferred(t, task):
    data = nd.Dataset(np.eye(3), t)
    assert data.task == task
    assert (data.c_data is None) == (task == "regression")


def test_stratified_split_holds_the_share_of_each_class():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    data = nd.Dataset(np.zeros((1000, 2)), labels, task="classification", seed=0)
    assert data.num_train_data == 700
    assert np.bincount(data.c_train_data).tolist() == [420, 210, 70]
    assert np.bincount(data.c_validation_data).tolist() == [180, 90, 30]


def test_the_default_norm_is_that_of_the_training_part():
    data = line(seed=1)
    assert data.norm == Normalization.standard(data.x_train_data)
    assert abs(data.norm(data.x_train_data).mean()) < 1e-5


def test_a_given_norm_is_kept_and_the_batches_stay_raw():
    norm = Normalization(5.0, 2.0)
    data = line(norm=norm)
    assert data.norm is norm
    inputs, _, _ = data.get_train_batch(70)
    assert set(inputs[:, 0]) == set(data.x_train_data[:, 0])


def test_first_samples_train():
    x = np.arange(20, dtype=np.uint8).reshape(10, 2)
    data = nd.Dataset(x, np.arange(10.0), num_train=6)
    assert data.x_train_data.tolist() == x[:6].tolist()
    assert np.shares_memory(data.x_train_data, data.x_data)
    assert data.x_data.dtype == np.uint8
    assert data.get_train_batch()[0].dtype == np.float32


def test_bytes_are_kept_as_bytes_and_the_callers_floats_are_copied():
    x = np.zeros((4, 1), dtype=np.float32)
    data = nd.Dataset(x, np.arange(4.0))
    data.x_data[0, 0] = 7
    assert x[0, 0] == 0


def test_batch_sizes_are_the_square_root_and_can_be_set():
    data = line(1000)
    assert (data.train_batch_size, data.validation_batch_size) == (26, 17)
    data.train_batch_size, data.validation_batch_size = 700, 1
    assert len(data.get_train_batch()[0]) == 700
    assert len(data.get_validation_batch()[0]) == 1
    assert len(data.get_validation_batch(300)[0]) == 300


@pytest.mark.parametrize("size", [1, 3, 7, 69, 70])
def test_batches_visit_all_samples_equally_often_and_none_twice(size):
    data = line(seed=5)
    counts = Counter()
    for _ in range(40):
        batch = data.get_train_batch(size)[0][:, 0].tolist()
        assert len(set(batch)) == size
        counts.update(batch)
        seen = [counts[value] for value in data.x_train_data[:, 0].tolist()]
        assert max(seen) - min(seen) <= 1
    assert sum(counts.values()) == 40 * size


def test_one_pass_covers_the_validation_part():
    data = line()
    seen = np.concatenate([data.get_validation_batch(10)[0] for _ in range(3)])
    assert set(seen[:, 0]) == set(data.x_validation_data[:, 0])


def test_a_batch_is_a_copy():
    data = line()
    data.get_train_batch(70)[0][:] = -1
    assert (data.x_train_data >= 0).all()


def batches(data, validation_between=False):
    found = []
    for _ in range(20):
        found.append(data.get_train_batch(9)[0])
        if validation_between:
            data.get_validation_batch()
    return np.concatenate(found)


def test_the_seed_repeats_split_and_batches():
    one, two, other = line(seed=1), line(seed=1), line(seed=2)
    np.testing.assert_array_equal(one.x_train_data, two.x_train_data)
    assert (one.x_train_data != other.x_train_data).any()
    np.testing.assert_array_equal(batches(one), batches(two, validation_between=True))
    fresh = line(), line()
    assert (fresh[0].x_train_data != fresh[1].x_train_data).any()


def test_repr_says_what_it_is():
    data = nd.XORTwoClasses(seed=0)
    assert repr(data) == (
        "<XORTwoClasses: classification (2 classes), 280 training and 120 validation samples, "
        "shape_in=(2,), shape_out=(2,)>"
    )


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"train_fraction": 0.0}, ValueError, "train_fraction must lie strictly .* not 0.0"),
        ({"train_fraction": 1.5}, ValueError, "train_fraction must lie strictly .* not 1.5"),
        ({"train_fraction": float("nan")}, ValueError, "train_fraction must be a finite"),
        ({"train_fraction": "a"}, TypeError, "train_fraction must be a number, not 'a'"),
        ({"train_fraction": 0.01}, ValueError, "leaves 0 for training and 4 for validation"),
        ({"train_fraction": 0.99}, ValueError, "leaves 4 for training and 0 for validation"),
        ({"num_train": 4}, ValueError, "num_train must leave .* of the 4, not 4"),
        ({"num_train": 0}, ValueError, "num_train must leave"),
        ({"num_train": 1.5}, TypeError, "num_train must be an int, not 1.5"),
        ({"seed": -1}, ValueError, "seed must be at least 0, not -1"),
        ({"seed": "a"}, TypeError, "seed must be an int, not 'a'"),
        ({"task": "cluster"}, ValueError, "task must be one of .* not 'cluster'"),
        ({"x": [1.0, 2.0]}, ValueError, r"t must have the shape \(2,\).* not \(4,\)"),
        ({"x": 1.0}, ValueError, "x must hold one sample per row"),
        ({"x": [[1.0], [1.0, 2.0]]}, ValueError, "x: rows must be of one shape"),
        ({"x": np.zeros((4, 0))}, ValueError, r"x must hold samples.* \(4, 0\)"),
        ({"x": list("abcd")}, TypeError, "x must hold real numbers: .* <U1"),
        ({"x": [1, 2, np.nan, 4]}, ValueError, "x must hold finite .* row 2"),
        ({"x": [1, 2, 3, 1e300]}, ValueError, "x must hold finite float32 .* row 3"),
        ({"t": np.zeros((4, 1, 1))}, ValueError, "t must have the shape"),
        ({"t": np.zeros((4, 0))}, ValueError, "t must have at least one column"),
        ({"t": [0, 1, np.inf, 0]}, ValueError, "t must hold finite .* row 2"),
        ({"t": list("abcd")}, TypeError, "t must hold real numbers"),
        ({"t": [0, 1, 2, 1], "task": "binary"}, ValueError, "column of zeros and ones"),
        ({"t": np.eye(4), "task": "binary"}, ValueError, r"it has 4 column\(s\)"),
        ({"t": [0, -1, 0, 1], "task": "classification"}, ValueError, "from 0 up, not -1"),
        ({"t": [0.5, 1, 0, 1], "task": "classification"}, TypeError, "t must hold integers"),
        ({"t": np.ones((4, 2)), "task": "classification"}, ValueError, "a single 1"),
        ({"t": np.eye(4), "c": [0, 1, 3, 2]}, ValueError, "row 2 has the class 3.* says 2"),
        ({"t": np.eye(4), "c": [0, 1]}, ValueError, r"c must have the shape \(4,\)"),
        ({"c": [0, 1, 2, 3]}, ValueError, "c must be None for regression"),
        ({"class_names": ["a"]}, ValueError, "class_names must be None for regression"),
        ({"t": np.eye(4), "class_names": ["a"]}, ValueError, r"must hold 4 name\(s\).* not 1"),
        ({"feature_names": ["a", "b"]}, ValueError, r"feature_names must hold 1 name\(s\)"),
        ({"feature_names": "a"}, TypeError, "feature_names must be a sequence of strings"),
        ({"strata": [1]}, ValueError, "strata must have the shape"),
    ],
)
def test_wrong_arguments(arguments, error, match):
    with pytest.raises(error, match=match):
        nd.Dataset(**{"x": [1.0, 2.0, 3.0, 4.0], "t": [1.0, 2.0, 3.0, 4.0], **arguments})


@pytest.mark.parametrize("size", [0, -3, 71])
def test_wrong_batch_size(size):
    data = line()
    match = f"from 1 to 70, the number of samples, not {size}"
    with pytest.raises(ValueError, match=f"^batch_size must be {match}"):
        data.get_train_batch(size)
    with pytest.raises(ValueError, match=f"train_batch_size must be {match}"):
        data.train_batch_size = size


def test_wrong_batch_size_of_validation():
    data = line()
    with pytest.raises(ValueError, match="from 1 to 30, the number of samples, not 31"):
        data.get_validation_batch(31)
    with pytest.raises(ValueError, match=r"validation_batch_size must be .* not 31"):
        data.validation_batch_size = 31
    with pytest.raises(TypeError, match=r"batch_size must be an int, not 2.0"):
        data.get_train_batch(2.0)
    with pytest.raises(TypeError, match="batch_size must be an int, not True"):
        data.get_train_batch(True)


@pytest.mark.parametrize("size", [3, 4, 5])
def test_training_batches_are_those_of_fit(size):
    """With the same seed: in all epochs if the size divides them, else in the first."""
    trained = []

    class SeeingDense(npnn.Dense):
        def forward(self, x):
            trained.append(x[:, 0].tolist())
            return super().forward(x)

    data = nd.Dataset(np.arange(20.0), np.arange(20.0), num_train=12, seed=5)
    model = npnn.Sequential([SeeingDense(1, 1)], capture=False)
    model.fit(data.x_train_data, data.y_train_data, epochs=3, batch_size=size, seed=5)
    assert len({tuple(batch) for batch in trained}) == 3 * -(-12 // size)
    alike = len(trained) if 12 % size == 0 else 12 // size
    handed_out = [data.get_train_batch(size)[0][:, 0].tolist() for _ in trained]
    assert handed_out[:alike] == trained[:alike]


# ---------------------------------------------------------------------------- generated points


@pytest.mark.parametrize("kind", POINTS)
def test_points_are_a_function_of_the_seed(kind):
    one, two, other = kind(seed=1), kind(1), kind(seed=2)
    assert (one.num_train_data, one.num_validation_data) == (280, 120)
    np.testing.assert_array_equal(one.x_data, two.x_data)
    np.testing.assert_array_equal(one.x_train_data, two.x_train_data)
    np.testing.assert_array_equal(batches(one), batches(two))
    assert (one.x_data != other.x_data).any()
    assert one.name == kind.__name__


@pytest.mark.parametrize("noise", [0.1, 5.0])
def test_corner_points_stay_near_their_corners(noise):
    data = nd.XORBinClasses(seed=0, noise=noise)
    corners = np.round(np.clip(data.x_data, 0, 1))
    assert (np.hypot(*(data.x_data - corners).T) < 0.45).all()
    assert sorted(Counter(map(tuple, corners.tolist())).values()) == [100] * 4
    train = np.round(np.clip(data.x_train_data, 0, 1))
    assert sorted(Counter(map(tuple, train.tolist())).values()) == [70] * 4
    np.testing.assert_array_equal(data.c_data, corners[:, 0] != corners[:, 1])


def test_the_noise_has_the_asked_deviation():
    data = nd.XORFunction(seed=0, num_data=4000, noise=0.1)
    assert np.std(data.x_data - np.round(data.x_data)) == pytest.approx(0.1, rel=0.05)
    exact = nd.XORFunction(seed=0, noise=0)
    assert set(exact.x_data.ravel().tolist()) == {0.0, 1.0}


def test_targets_of_the_gates():
    binary, two, xor, land = (kind(seed=4) for kind in POINTS[:4])
    for data in (two, xor, land):
        np.testing.assert_array_equal(data.x_data, binary.x_data)
    assert [data.task for data in (binary, two, xor, land)] == [
        "binary",
        "classification",
        "regression",
        "regression",
    ]
    np.testing.assert_array_equal(two.y_data[:, 1], binary.y_data[:, 0])
    np.testing.assert_array_equal(two.c_data, binary.c_data)
    np.testing.assert_array_equal(xor.y_data, binary.y_data)
    np.testing.assert_array_equal(land.y_data[:, 0] == 1, (binary.x_data > 0.5).all(axis=1))
    assert xor.c_data is None
    assert land.c_data is None
    assert np.bincount(binary.c_data).tolist() == [200, 200]
    assert land.y_data.sum() == 100


def test_linear_and_sine_follow_their_formulas():
    linear = nd.NoisyLinear(seed=0, slope=3.0, intercept=0.5)
    np.testing.assert_allclose(
        np.polyfit(linear.x_data[:, 0], linear.y_data[:, 0], 1), [3.0, 0.5], atol=0.03
    )
    assert linear.x_data.min() >= -1
    assert linear.x_data.max() <= 1
    sine = nd.NoisySine(seed=0)
    error = sine.y_data - np.sin(2 * np.pi * sine.x_data)
    assert error.std() == pytest.approx(0.1, rel=0.15)
    assert abs(error.mean()) < 0.02
    assert sine.x_data.min() >= 0
    assert sine.x_data.max() <= 1
    exact = nd.NoisyLinear(noise=0.0)
    np.testing.assert_allclose(exact.y_data, 2 * exact.x_data - 1, atol=1e-6)


@pytest.mark.parametrize("kind", POINTS)
def test_wrong_arguments_of_points(kind):
    with pytest.raises(ValueError, match=r"num_data must be at least .*, not 1"):
        kind(num_data=1)
    with pytest.raises(TypeError, match=r"num_data must be an int, not 4.5"):
        kind(num_data=4.5)
    with pytest.raises(ValueError, match="noise must be a standard deviation from 0 up, not -1"):
        kind(noise=-1)
    with pytest.raises(ValueError, match="noise must be a finite number, not inf"):
        kind(noise=float("inf"))
    with pytest.raises(ValueError, match="seed must be at least 0"):
        kind(seed=-1)


# ---------------------------------------------------------------------------- digits


def test_digits():
    data = nd.Digits(seed=0)
    assert data.x_data.shape == (1797, 64)
    assert data.y_data.shape == (1797, 10)
    assert (data.num_train_data, data.num_validation_data) == (1438, 359)
    assert data.x_data.min() == 0
    assert data.x_data.max() == 16
    assert data.class_names == tuple("0123456789")
    counts = np.bincount(data.c_data)
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (np.abs(np.bincount(data.c_train_data) - 0.8 * counts) <= 1).all()
    z = data.norm(data.x_data)
    assert abs(z.mean()) < 1e-3
    assert abs(z.std() - 1) < 1e-3


def test_digits_as_images():
    flat, images = nd.Digits(seed=0), nd.Digits(seed=0, flat=False)
    assert images.shape_in == (8, 8, 1)
    np.testing.assert_array_equal(images.x_train_data.reshape(-1, 64), flat.x_train_data)


def test_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    images, labels = datasets.load_digits(return_X_y=True)
    data = nd.Digits()
    np.testing.assert_array_equal(data.x_data, images)
    np.testing.assert_array_equal(data.c_data, labels)


# ---------------------------------------------------------------------------- IDX and MNIST


def idx(array, code=0x08, dtype=">u1"):
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(dtype).tobytes()


@pytest.mark.parametrize(
    ("code", "dtype"),
    [(8, ">u1"), (9, ">i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")],
)
@pytest.mark.parametrize("compress", [False, True])
def test_idx_round_trip(tmp_path, code, dtype, compress):
    array = (np.arange(24).reshape(2, 3, 4) - (0 if code == 8 else 12)).astype(dtype)
    data = idx(array, code, dtype)
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(data) if compress else data)
    found = nd.read_idx(path)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    assert found.flags.writeable


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "not an IDX file.*found no bytes"),
        (b"\0\0\x08", "not an IDX file.*found 0x000008"),
        (b"\x89PNG\r\n", "not an IDX file.*found 0x89504e47"),
        (b"\0\0\x07\x01\0\0\0\0", "not an IDX file.*found 0x00000701"),
        (b"\0\0\x08\0", "number of dimensions from 1 up"),
        (b"\0\0\x08\x03\0\0\0\x01", "header of 16 bytes for 3 dimensions, found 8"),
        (idx(np.zeros(5))[:-1], r"truncated: expected 13 bytes for the shape \(5,\), found 12"),
        (idx(np.zeros(5)) + b"\0", "bytes after its data: expected 13 bytes .*found 14"),
        (b"\0\0\x0e\x03" + b"\xff" * 12, "truncated: expected"),
        (gzip.compress(idx(np.arange(99)))[:-20], "damaged or truncated gzip"),
        (b"\x1f\x8bnonsense", "damaged or truncated gzip"),
    ],
)
def test_wrong_idx_files(tmp_path, data, match):
    path = tmp_path / "some-file"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"some-file.*{match}"):
        nd.read_idx(path)


def test_absent_idx_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nothing"):
        nd.read_idx(tmp_path / "nothing")


def write_mnist(folder, part, num, suffix="", seed=0):
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 256, (num, 28, 28)), np.arange(num) % 10
    for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
        data = idx(array)
        path = folder / f"{part}-{kind}-ubyte{suffix}"
        path.write_bytes(gzip.compress(data) if suffix else data)
    return images, labels


@pytest.mark.parametrize("kind", [nd.MNIST, nd.FashionMNIST])
def test_mnist_keeps_its_two_parts(tmp_path, kind):
    images, labels = write_mnist(tmp_path, "train", 30)
    others, _ = write_mnist(tmp_path, "t10k", 20, ".gz", seed=1)
    data = kind(tmp_path, seed=0)
    assert (data.num_train_data, data.num_validation_data) == (30, 20)
    np.testing.assert_array_equal(data.x_train_data, images.reshape(30, 784))
    np.testing.assert_array_equal(data.x_validation_data, others.reshape(20, 784))
    np.testing.assert_array_equal(data.c_train_data, labels)
    assert data.x_data.dtype == np.uint8
    assert data.name == kind.__name__
    inputs, targets, classes = data.get_train_batch()
    assert inputs.dtype == targets.dtype == np.float32
    np.testing.assert_array_equal(targets.argmax(axis=1), classes)
    assert len(data.class_names) == 10
    assert kind(tmp_path, flat=False).shape_in == (28, 28, 1)


@pytest.mark.parametrize("part", ["t10k", "train"])
def test_a_single_part_is_split(tmp_path, part):
    write_mnist(tmp_path, part, 100)
    data = nd.MNIST(tmp_path, seed=0)
    assert np.bincount(data.c_train_data).tolist() == [7] * 10
    assert data.num_validation_data == 30
    assert nd.MNIST(tmp_path, seed=0, train_fraction=0.5).num_train_data == 50


def test_mnist_files(tmp_path):
    with pytest.raises(ValueError, match=r"folder must be an existing folder, not .*nowhere"):
        nd.MNIST(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no IDX files: expected train-images.* found no files"):
        nd.MNIST(tmp_path)
    write_mnist(tmp_path, "train", 30)
    labels, images = tmp_path / "train-labels-idx1-ubyte", tmp_path / "train-images-idx3-ubyte"
    labels.write_bytes(idx(np.zeros(29)))
    with pytest.raises(ValueError, match=r"train-labels.* each of the 30 images .* found 29"):
        nd.MNIST(tmp_path)
    labels.write_bytes(idx(np.full(30, 10)))
    with pytest.raises(ValueError, match=r"train-labels.* labels from 0 to 9, found 10"):
        nd.MNIST(tmp_path)
    labels.write_bytes(idx(np.zeros((30, 1))))
    with pytest.raises(ValueError, match=r"train-labels.* shape \(n,\), found uint8 .*\(30, 1\)"):
        nd.MNIST(tmp_path)
    images.write_bytes(idx(np.zeros((30, 8, 8))))
    with pytest.raises(ValueError, match=r"train-images.*\(n, 28, 28\), found .*\(30, 8, 8\)"):
        nd.MNIST(tmp_path)
    labels.unlink()
    with pytest.raises(ValueError, match="holds train-images-idx3-ubyte but no train-labels"):
        nd.MNIST(tmp_path)


def test_mnist_needs_pooch_to_download(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingError, match=r"pooch .*pip install 'npnn-xp\[data\]'"):
        nd.MNIST()


def test_mnist_is_downloaded_once_and_checked(tmp_path, monkeypatch):
    pooch = pytest.importorskip("pooch")
    cache = tmp_path / "fashionmnist"
    cache.mkdir()
    write_mnist(cache, "train", 30, ".gz")
    write_mnist(cache, "t10k", 20, ".gz")
    fetched = []

    def fetch(store, name):
        fetched.append((store.get_url(name), store.registry[name]))
        return str(cache / name)

    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path)
    monkeypatch.setattr(pooch.Pooch, "fetch", fetch)
    assert nd.FashionMNIST().num_train_data == 30
    assert len(fetched) == 4
    assert all(url.endswith("-ubyte.gz") and md5.startswith("md5:") for url, md5 in fetched)

    def fail(store, name):
        raise OSError("no route to host")

    monkeypatch.setattr(pooch.Pooch, "fetch", fail)
    with pytest.raises(MissingError, match=r"could not download http.*no route.* as folder"):
        nd.FashionMNIST()

    def homeless(name):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr(pooch, "os_cache", homeless)
    with pytest.raises(MissingError, match=r"no folder to download Fashion.* as folder"):
        nd.FashionMNIST()


@pytest.mark.skipif(not MNIST_FOLDER.is_dir(), reason="the MNIST test images are not here")
def test_the_real_test_images():
    data = nd.MNIST(MNIST_FOLDER, seed=0)
    assert (data.num_train_data, data.num_validation_data) == (7000, 3000)
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(data.c_data).tolist() == counts
    inputs, _, _ = data.get_train_batch(2000)
    z = data.norm(inputs)
    assert abs(z.mean()) < 0.05
    assert abs(z.std() - 1) < 0.05


# ---------------------------------------------------------------------------- tables


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="data.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write_file


FLOWERS = "length,width,kind\n" + "".join(
    f"{row / 10},{5 - row},{'iris' if row % 2 else 'aster'}\n" for row in range(10)
)


def test_table_with_labels(write):
    data = nd.Table(write(FLOWERS, "flowers.csv"), seed=0)
    assert data.name == "flowers"
    assert data.task == "classification"
    assert data.class_names == ("aster", "iris")
    assert data.feature_names == ("length", "width")
    assert data.c_data.tolist() == [0, 1] * 5
    np.testing.assert_array_equal(data.y_data[:2], [[1, 0], [0, 1]])
    np.testing.assert_allclose(data.x_data[3], [0.3, 2.0], rtol=1e-6)
    assert (data.num_train_data, data.num_validation_data) == (7, 3)
    assert data.x_data.dtype == np.float32
    assert data.schema.has_header


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_delimiters_marks_and_line_ends(write, delimiter, encoding, newline):
    text = FLOWERS.replace(",", delimiter).replace("\n", newline)
    path = write(text, encoding=encoding)
    table = nd.read_table(path)
    assert table.delimiter == delimiter
    assert table.has_header
    assert table.columns == ("length", "width", "kind")
    assert table.rows[1] == ["0.1", "4", "iris"]
    assert table.lines[:2] == [2, 3]
    assert nd.Table(path).class_names == ("aster", "iris")


def test_delimiter_given(write):
    path = write("a:b\n1:2\n3:5\n5:5.5\n7:1\n")
    assert nd.Table(path, delimiter=":").y_data[:, 0].tolist() == [2, 5, 5.5, 1]


def test_quoted_cells_and_empty_lines(write):
    path = write('\n"name, full", "t"\n"a, b", 1.5\n\n"c ""d""", 2\n  \n"a, b",3\n')
    table = nd.read_table(path)
    assert table.columns == ("name, full", "t")
    assert table.rows == [["a, b", "1.5"], ['c "d"', "2"], ["a, b", "3"]]
    assert table.lines == [3, 5, 7]


@pytest.mark.parametrize(
    ("text", "has_header"),
    [
        ("1,2\n3,4\n", False),
        ("a,b\n3,4\n", True),
        ("5.1,3.5,setosa\n4.9,3.0,other\n", False),
        ("a,3.5,kind\n4.9,3.0,other\n", True),
        ("colour,label\nred,yes\nblue,no\n", True),
        ("red,yes\nblue,no\nred,no\n", False),
        ("a,b\n", None),
        ("?,1\n2,3\n", False),
        ("a,b\n?,x\n1,y\n", True),
    ],
)
def test_header_found_out(write, text, has_header):
    path = write(text)
    if has_header is None:
        with pytest.raises(ValueError, match=r"data.csv has a header and no rows"):
            nd.read_table(path)
    else:
        assert nd.read_table(path).has_header is has_header


def test_header_given(write):
    path = write("1,2\n3,4\n5,6.5\n7,8\n")
    assert nd.read_table(path, header=True).columns == ("1", "2")
    assert nd.read_table(path, header=False).columns == ("column 0", "column 1")
    assert nd.Table(path, header=True, target="1").y_data[:, 0].tolist() == [3, 5, 7]
    for target in (0, "0", "column 0", "-2"):
        assert nd.Table(path, target, header=False).schema.target == "column 0"
    text = write("red,yes\nblue,no\n")
    assert len(nd.read_table(text, header=False).rows) == 2


@pytest.mark.parametrize("target", ["b", 1, -2, "1", "-2"])
def test_target_by_name_or_index(write, target):
    path = write("a,b,c\n1,0.5,2\n2,1.5,2\n3,2.5,2\n4,3.5,2\n")
    data = nd.Table(path, target)
    assert data.task == "regression"
    assert data.schema.target == "b"
    assert data.y_data[:, 0].tolist() == [0.5, 1.5, 2.5, 3.5]
    assert data.feature_names == ("a", "c")
    assert data.class_names is None
    assert data.get_train_batch()[2] is None


def column(values):
    return "x,t\n" + "".join(f"{row}.5,{value}\n" for row, value in enumerate(values))


@pytest.mark.parametrize(
    ("values", "task", "names"),
    [
        ([0, 1, 1, 0], "classification", ("0", "1")),
        (["2.0", "1.0", "10.0"] * 4, "classification", ("1", "2", "10")),
        ([-1, 1] * 3, "classification", ("-1", "1")),
        (list(range(20)) * 4, "classification", tuple(map(str, range(20)))),
        (list(range(21)) * 4, "regression", None),
        ([1, 2, 3, 4, 5, 6], "regression", None),
        ([0.5, 1.5] * 6, "regression", None),
        (["True", "False"] * 3, "classification", ("False", "True")),
        (["b", "a", "1"] * 3, "classification", ("1", "a", "b")),
    ],
)
def test_the_task_of_a_column(write, values, task, names):
    data = nd.Table(write(column(values)))
    assert data.task == task
    assert data.class_names == names


def test_the_task_can_be_given(write):
    path = write(column([0, 1, 1, 0] * 4))
    real = nd.Table(path, task="regression")
    assert real.task == "regression"
    assert real.y_data[:4, 0].tolist() == [0, 1, 1, 0]
    binary = nd.Table(write(column(["no", "yes"] * 4)), task="binary")
    assert binary.shape_out == (1,)
    assert binary.class_names == ("no", "yes")
    assert binary.c_data.tolist() == [0, 1] * 4
    floats = nd.Table(write(column([0.5, 1.5] * 6)), task="classification")
    assert floats.class_names == ("0.5", "1.5")


def test_categories_become_one_hot_columns(write):
    path = write("colour,size,t\nred,1,0.5\nblue,2,1.5\nred,3,2.5\n")
    data = nd.Table(path)
    assert data.feature_names == ("colour=blue", "colour=red", "size")
    np.testing.assert_array_equal(data.x_data, [[0, 1, 1], [1, 0, 2], [0, 1, 3]])


def test_too_many_categories(write):
    rows = [f"{'ab'[i % 2]}{i},{i}.5\n" for i in range(33)]
    assert nd.Table(write("name,t\n" + "".join(rows[:32]))).shape_in == (32,)
    with pytest.raises(ValueError, match=r"line 2: the column 'name' holds 'a0'.* 33 .*most 32"):
        nd.Table(write("name,t\n" + "".join(rows)))


@pytest.mark.parametrize(
    "cell",
    ["", "NA", "nan", "NaN", "null", "?", " N/A ", "inf", "-inf", "#N/A", "-", ".", "#DIV/0!"],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_missing_values(write, cell, place):
    row = ["3", "red", "1.5"]
    row[place] = cell
    path = write(f"a,b,c\n1,red,2.5\n{','.join(row)}\n4,blue,3.5\n")
    match = rf"1 missing or infinite value\(s\): line 3 column '{'abc'[place]}';"
    with pytest.raises(ValueError, match=match):
        nd.Table(path)


def ages(*cells):
    """A table whose first column is numbers but for `cells`, from line 4 on."""
    numbers = [20, 44, *cells, *range(21, 40)]
    return "age,t\n" + "".join(f"{cell},{row}.5\n" for row, cell in enumerate(numbers))


def test_a_few_cells_of_text_among_numbers_are_a_mistake(write):
    match = r"'age' holds numbers, but not on line 4 \('unknown'\), line 5 \('x'\); correct"
    with pytest.raises(ValueError, match=match):
        nd.Table(write(ages("unknown", "x")))
    with pytest.raises(ValueError, match=r"\('h'\) and 2 more; .* task='classification'"):
        nd.Table(write(ages(*"defghij")), "age")
    classes = write(column([1, 2, 2, 1, "x", 1] * 2))
    with pytest.raises(ValueError, match="the column 't' holds numbers, but not on line 6"):
        nd.Table(classes)
    assert nd.Table(classes, task="classification").class_names == ("1", "2", "x")
    # A header is still one, and what occurs again is none.
    assert nd.read_table(write(ages("unknown"))).has_header
    assert not nd.read_table(write("unknown,1\n1,2\n2,3\n3,4\nunknown,5\n")).has_header


def test_half_of_the_values_may_be_numbers(write):
    sizes = "".join(f"{size},{row}.5\n" for row, size in enumerate(["S", "M", "38", "40"] * 3))
    data = nd.Table(write("size,t\n" + sizes))
    assert data.feature_names == ("size=38", "size=40", "size=M", "size=S")


@pytest.mark.parametrize(
    ("cell", "match"),
    [
        ("12.3%", r"percent signs \('12.3%'\); write the numbers without them"),
        ("2024-03-01", r"dates or times \('2024-03-01'\); .* leave the column out with ignore"),
        ("2024-03-01 12:30:00", "dates or times"),
        ("1.3.24", "dates or times"),
        ("12:30", "dates or times"),
    ],
)
@pytest.mark.parametrize("target", ["a", "t"])
def test_percent_signs_and_dates_say_what_to_do(write, cell, match, target):
    path = write("a,t\n" + "".join(f"{cell},{row}.5\n" for row in range(9)))
    with pytest.raises(ValueError, match=f"line 2: the column 'a' has {match}"):
        nd.Table(path, target)


def test_a_minus_is_a_value_beside_a_plus(write):
    text = "sign,kind\n" + "+,a\n-,b\n" * 4
    data = nd.Table(write(text))
    assert data.feature_names == ("sign=+", "sign=-")
    signs = nd.Table(write(text), "sign")
    assert signs.class_names == ("+", "-")
    _, t = signs.schema.read(write("sign,kind\n-,a\n", "other.csv"))
    assert t.tolist() == [[0, 1]]


def test_numbers_within_names_are_sorted_by_size(write):
    names = ["c10", "c2", "c1", "c"]
    rows = "".join(f"{name},{name}\n" for name in names * 3)
    data = nd.Table(write("a,t\n" + rows))
    assert data.class_names == ("c", "c1", "c2", "c10")
    assert data.feature_names == ("a=c", "a=c1", "a=c2", "a=c10")
    assert [data.class_names[c] for c in data.c_data] == names * 3


@pytest.mark.parametrize("text", ["a;b\n1,5;2\n-2,25;3,125\n", 'a,b\n"1,5",2\n"-2,25","3,125"\n'])
@pytest.mark.parametrize("decimal", ["auto", ","])
def test_decimal_commas(write, text, decimal):
    path = write(text)
    assert nd.read_table(path, decimal=decimal).decimal == ","
    data = nd.Table(path, decimal=decimal, train_fraction=0.5)
    assert data.x_data[:, 0].tolist() == [1.5, -2.25]
    assert data.y_data[:, 0].tolist() == [2, 3.125]
    x, t = data.schema.read(path, decimal=decimal)
    assert (x.tolist(), t.tolist()) == ([[1.5], [-2.25]], [[2], [3.125]])


def test_encodings(write):
    text = "é,b\n1,2.5\n2,3.5\n"
    for encoding, given in (("utf-16", "auto"), ("cp1252", "cp1252")):
        path = write(text, encoding=encoding)
        data = nd.Table(path, encoding=given)
        assert data.feature_names == ("é",)
        assert data.schema.read(path, encoding=given)[0].tolist() == [[1], [2]]


@pytest.mark.parametrize("ignore", ["id", 0, "-4", ["id"], [0, "id"]])
def test_ignored_columns(write, ignore):
    path = write("id,a,b,t\nx,1,2,0.5\ny,3,4,1.5\n")
    data = nd.Table(path, ignore=ignore, train_fraction=0.5)
    assert data.feature_names == ("a", "b")
    schema = round_trip(data.schema)
    assert schema.ignored == (0,)
    for text in ("b,a\n2,1\n", "id,a,b,t\n7,1,2,0.5\n", "1,2\n", "z,1,2\n", "z,1,2,0.5\n"):
        x, t = schema.read(write(text, "other.csv"))
        assert x.tolist() == [[1, 2]]
        assert t is None or t.tolist() == [[0.5]]
    with pytest.raises(ValueError, match=r"must have 3 columns, or 4 with the target \(with the 1"):
        schema.read(write("1\n", "other.csv"))


def test_the_last_column_that_is_not_ignored_is_the_target(write):
    path = write("1,2,0.5,9\n3,4,1.5,9\n")
    data = nd.Table(path, ignore=-1, train_fraction=0.5)
    assert data.schema.target == "column 2"
    assert data.has_header is False
    x, t = data.schema.read(write("1,2,9\n", "other.csv"))
    assert (x.tolist(), t) == ([[1, 2]], None)


def test_missing_values_are_counted_in_the_order_of_the_file(write):
    path = write("a,b,t\n,1,2\n1,NA,2.5\n" + "1,?,\n" * 4)
    match = (
        r"has 10 missing.*: line 2 column 'a', line 3 column 'b', line 4 column 'b', "
        r"line 4 column 't', line 5 column 'b' and 5 more"
    )
    with pytest.raises(ValueError, match=match):
        nd.Table(path)


@pytest.mark.parametrize(
    ("text", "options", "match"),
    [
        ("", {}, "data.csv is empty"),
        (" \n\n", {}, "data.csv is empty"),
        ("a,b\n", {"header": True}, "data.csv has a header and no rows"),
        ("a,b\n1,2\n3\n", {}, "line 3: expected 2 cells like line 1, found 1"),
        ("a,b\n1,2\n\n3,4,5\n", {}, "line 4: expected 2 cells like line 1, found 3"),
        ("a,b,a\n1,2,3\n", {}, "names must differ, and 'a' occur"),
        ("a,b\n1,2\n", {"target": "c"}, "target must be a column .*'c'; .* are 'a', 'b'"),
        ("a,b\n1,2\n", {"target": 2}, "index from -2 to 1 .* not 2; .* 'a', 'b'"),
        ("a,b\n1,2\n", {"target": -3}, "index from -2 to 1 .* not -3"),
        ("a b\n1 2\n", {}, "single column 'a b', and so no feature"),
        ('a,b\n1,"2\n', {"delimiter": ","}, "line 2: unexpected end of data"),
        (
            "a;b\n1,5;2.5\n2,5;3.5\n",
            {},
            r"line 2: the column 'a' .* decimal comma \('1,5'\); .*--decimal ,",
        ),
        ("a;b\n1;2,5\n2;3,5\n", {"decimal": "."}, r"'b' has .* decimal comma \('2,5'\)"),
        ("a;b\n1;2.5\n2;3,5\n", {"decimal": ","}, r"line 2: '2.5' has a point, and the decimal"),
        ("a;b\n1;2\n", {"decimal": ";"}, "decimal must be 'auto', '.' or ',', not ';'"),
        ("a;b\n1;2\n", {"encoding": "x"}, "encoding must be 'auto' or one that .*, not 'x'"),
        (
            'a,b\n"346,584",1.5\n"1,000",2.5\n',
            {},
            r"line 2: .*'a' has numbers with a comma between the thousands \('346,584'\)",
        ),
        (
            "a,b,\n1,2,\n3,4,\n",
            {},
            "'column 2' is empty on every line; if every line ends with ',', take it away",
        ),
        ("a,b\n1,2,\n", {}, "line 2: .* found 3 .*; the line ends with ','"),
        ("# by hand\na,b\n1,2\n", {}, "expected 1 cells .*; if line 1 is a comment or a title"),
        (
            "# by hand, at home\na,b,c\n1,2,3\n",
            {},
            "expected 2 .*; if line 1 is a comment or a title",
        ),
        ("a,b\n1,2\nx, y,2\n", {}, "line 3: .* found 3 .*; a cell that holds ',' must stand in qu"),
        (
            "2019,2019\n1,2.5\n2,3.5\n",
            {"header": True},
            r"'2019' occur\(s\) more than once; .*--header no",
        ),
        ("a,b\n1,2.5\n", {"ignore": "c"}, "ignore must be a column of .*, not 'c'"),
        ("a,b\n1,2.5\n", {"ignore": 7}, "ignore must be a column's index from -2 to 1"),
        ("a,b\n1,2.5\n", {"ignore": "b", "target": "b"}, "ignore must not hold the target, 'b'"),
        ("a,b\n1,2.5\n", {"ignore": "b"}, "single column 'a', and so no feature"),
        ("a,b\n1,2.5\n", {"ignore": ["a", "b"]}, "ignore must leave columns"),
        ("a,b\n1,1e300\n2,3.5\n", {}, "'b' holds 1e.300, which is beyond"),
        ("a,b\n1e300,1\n2,3\n", {}, "'a' holds 1e.300, which is beyond"),
        (column("xxxx"), {}, "'t' must have two or more different values .* row has 'x'"),
        (column("7777"), {}, "'t' must have two or more different values .* row has '7'"),
        (column("abcd"), {}, "'t' cannot be a class: each of the 4 rows"),
        (column("abab"), {"task": "regression"}, "must hold numbers for regression, not 'a'"),
        (column("abcabc"), {"task": "binary"}, "must have two different values .* has 3"),
        (column("abab"), {"task": "x"}, "task must be one of .* not 'x'"),
        (column("abab"), {"header": 1.5}, "header must be True, False or 'auto', not 1.5"),
        (
            column("abab"),
            {"delimiter": ",,"},
            "delimiter must be 'auto' or a single character .* ',,'",
        ),
        (column("abab"), {"delimiter": "\n"}, "other than a quote or a line end, not"),
        (column("abab"), {"train_fraction": 2}, "train_fraction must lie strictly"),
        ("a,b\n1,2.5\n", {}, r"train_fraction=0.7 of 1 sample\(s\)"),
    ],
)
def test_wrong_tables(write, text, options, match):
    with pytest.raises(ValueError, match=match):
        nd.Table(write(text), **options)


def test_files_that_are_no_tables(tmp_path, write):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nothing.csv"):
        nd.Table(tmp_path / "nothing.csv")
    with pytest.raises(ValueError, match=r"path must be a file, and .* is a folder"):
        nd.Table(tmp_path)
    with pytest.raises(ValueError, match=r"must be UTF-8 text: byte 0xe9 at position 4 .*encoding"):
        nd.Table(write("a,b,é\n1,2,3\n", encoding="latin-1"))
    with pytest.raises(ValueError, match=r"must be ascii text: byte 0xc3 at position 4 is not$"):
        nd.Table(write("a,b,é\n1,2,3\n"), encoding="ascii")
    with pytest.raises(TypeError, match=r"target must be an int, not 1.5"):
        nd.Table(write(FLOWERS), 1.5)


def test_table_is_repeatable_by_seed(write):
    path = write(column([row * 1.25 for row in range(50)]))
    one, two = nd.Table(path, seed=3), nd.Table(path, seed=3)
    np.testing.assert_array_equal(one.x_train_data, two.x_train_data)
    np.testing.assert_array_equal(batches(one), batches(two))


def test_a_large_table_is_quick(write):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5000, 10)).round(4)
    text = "\n".join(",".join(map(str, row)) for row in rows.tolist())
    data = nd.Table(write(text))
    np.testing.assert_allclose(data.x_data, rows[:, :-1], rtol=1e-6)


# ---------------------------------------------------------------------------- schemas


MIXED = "colour,size,kind\n" + "red,1,a\nblue,2,b\n" * 3


def round_trip(schema):
    again = nd.TableSchema.from_config(json.loads(json.dumps(schema.to_config())))
    assert again == schema
    return again


def test_schema_reads_the_file_it_came_from(write):
    path = write(MIXED)
    data = nd.Table(path, seed=0)
    x, t = round_trip(data.schema).read(path)
    np.testing.assert_array_equal(x, data.x_data)
    np.testing.assert_array_equal(t, data.y_data)
    assert x.dtype == t.dtype == np.float32


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("colour,size\nblue,7\n", None),
        ("size,other,colour\n7,1,blue\n", None),
        ("kind;size;colour\nb;7;blue\n", [[0, 1]]),
        ("colour,size,kind\nblue,7,\n", None),
        ("blue,7\n", None),
        ("blue,7,b\n", [[0, 1]]),
    ],
)
def test_schema_reads_other_files(write, text, targets):
    schema = round_trip(nd.Table(write(MIXED)).schema)
    x, t = schema.read(write(text, "other.csv"))
    np.testing.assert_array_equal(x, [[1, 0, 7]])
    assert (t is None) if targets is None else t.tolist() == targets


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("colour,kind\nred,a\n", "lacks the feature column.* 'size'; its columns are 'colour'"),
        ("x,y\n", "has a header and no rows"),
        ("1\n", "must have 2 columns, or 3 with the target, and it has 1"),
        ("red,1,a,b\n", "must have 2 columns, or 3 with the target, and it has 4"),
        ("colour,size\nred,1\ngreen,2\n", "line 3: .*'colour' must hold one of 'blue', 'red', not"),
        ("colour,size\nred,1\nred,many\n", "line 3: the column 'size' must hold numbers, not"),
        ("colour,size\nred,\nNA,2\n", "2 missing .*line 2 column 'size', line 3 column 'colour'"),
        ("colour,size,kind\nred,1,c\n", "line 2: the target 'kind' must be one of 'a', 'b', not"),
        ("colour,size,kind\nred,1,a\nred,1,\n", "1 missing .*line 3 column 'kind'"),
        ("colour,size\nred,1e99\n", "'size' holds 1e.99, which is beyond"),
    ],
)
def test_schema_refuses_what_does_not_fit(write, text, match):
    schema = nd.Table(write(MIXED)).schema
    with pytest.raises(ValueError, match=match):
        schema.read(write(text, "other.csv"))


def test_schema_refuses_an_absent_file(write, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*other.csv"):
        nd.Table(write(MIXED)).schema.read(tmp_path / "other.csv")


def test_schema_without_header_goes_by_position(write):
    schema = nd.Table(write("1,0.5,3\n2,1.5,4\n4,2.5,5\n"), target=1).schema
    for text in ("7,8\n", "a,b\n7,8\n", "7,0.25,8\n", "u,v,w\n7,0.25,8\n"):
        x, t = round_trip(schema).read(write(text, "other.csv"))
        assert x.tolist() == [[7, 8]]
        assert t is None or t.tolist() == [[0.25]]
    with pytest.raises(ValueError, match="line 1: the target 'column 1' must be a number"):
        schema.read(write("7,x,8\n", "other.csv"))


def test_schema_reads_integer_labels_however_written(write):
    schema = nd.Table(write(column([1, 2] * 4))).schema
    _, t = schema.read(write("x,t\n1,2.0\n1,1\n", "other.csv"))
    assert t.tolist() == [[0, 1], [1, 0]]
    binary = nd.Table(write(column([1, 2] * 4)), task="binary").schema
    assert round_trip(binary).read(write("x,t\n1,2\n", "other.csv"))[1].tolist() == [[1]]


@pytest.mark.parametrize(
    "change",
    [
        {"columns": 3},
        {"columns": [{"name": "a"}]},
        {"columns": []},
        {"task": "regression"},
        {"task": "other"},
        {"task": "binary"},
        {"class_names": None},
        {"class_names": "ab"},
        {"num_outputs": 3},
        {"num_outputs": "2"},
        {"shape_in": [4]},
        {"shape_in": None},
        {"target_position": 9},
    ],
)
def test_damaged_schemas(write, change):
    config = nd.Table(write(MIXED)).schema.to_config()
    with pytest.raises(ValueError, match="config is not that of a table's schema"):
        nd.TableSchema.from_config({**config, **change})
    for key in config:
        with pytest.raises(ValueError, match=f"config is not .*{key}"):
            nd.TableSchema.from_config({k: v for k, v in config.items() if k != key})
    with pytest.raises(ValueError, match="config is not"):
        nd.TableSchema.from_config([])


# ---------------------------------------------------------------------------- NPZ tables


@pytest.fixture
def save(tmp_path):
    def save_file(name="data.npz", **arrays):
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return save_file


X = np.arange(24.0).reshape(12, 2)


@pytest.mark.parametrize(
    ("t", "task", "names", "outputs"),
    [
        (np.arange(12) * 0.5, "regression", None, 1),
        (np.arange(12)[:, None] * 0.5, "regression", None, 1),
        (np.arange(24).reshape(12, 2), "regression", None, 2),
        (np.arange(12) % 3, "classification", ("0", "1", "2"), 3),
        (np.arange(12) % 2 == 0, "classification", ("False", "True"), 2),
        (np.asarray(["b", "a"] * 6), "classification", ("a", "b"), 2),
        (np.eye(4)[np.arange(12) % 4], "classification", ("0", "1", "2", "3"), 4),
    ],
)
@pytest.mark.parametrize("key", ["t", "y", "goal"])
def test_npz_tables(save, t, task, names, outputs, key):
    path = save(x=X, **{key: t})
    data = nd.Table(path, "goal" if key == "goal" else None, seed=0)
    assert data.task == task
    assert data.class_names == names
    assert data.shape_out == (outputs,)
    np.testing.assert_array_equal(data.x_data, X)
    x, again = round_trip(data.schema).read(path)
    np.testing.assert_array_equal(x, data.x_data)
    np.testing.assert_array_equal(again, data.y_data)
    assert data.schema.read(save("other.npz", x=X[:3]))[1] is None


def test_npz_images(save, write):
    images = np.arange(12 * 6, dtype=np.uint8).reshape(12, 2, 3, 1)
    data = nd.Table(save(x=images, t=np.arange(12) % 2), task="binary")
    assert data.shape_in == (2, 3, 1)
    assert data.shape_out == (1,)
    x, t = round_trip(data.schema).read(write("0,1,2,3,4,5\n", "row.csv"))
    np.testing.assert_array_equal(x, images[:1])
    assert t is None


def test_csv_schema_reads_npz(save, write):
    schema = nd.Table(write("1,3,0.5\n2,4,1.5\n3,5,2.5\n")).schema
    np.testing.assert_array_equal(schema.read(save(x=X))[0], X)
    with pytest.raises(ValueError, match=r"'x' must have the shape \(n, 2\), not \(12, 1\)"):
        schema.read(save(x=X[:, 0]))
    with pytest.raises(ValueError, match=r"'t' must have 1 column\(s\), not 2"):
        schema.read(save(x=X, t=X))
    with pytest.raises(ValueError, match="'t' must hold numbers, not text"):
        schema.read(save(x=X, t=np.asarray(["a"] * 12)))
    mixed = nd.Table(write(MIXED)).schema
    with pytest.raises(ValueError, match="'colour' hold text; use a CSV file"):
        mixed.read(save(x=X))


def test_npz_schema_refuses_other_labels(save):
    schema = nd.Table(save(x=X, t=np.asarray(["b", "a"] * 6))).schema
    with pytest.raises(ValueError, match="'t' must hold 'a', 'b', not 'c'"):
        schema.read(save(x=X, t=np.asarray(["c"] * 12)))
    with pytest.raises(ValueError, match="'t' must hold one-hot rows"):
        schema.read(save(x=X, t=np.ones((12, 2))))


@pytest.mark.parametrize(
    ("arrays", "options", "match"),
    [
        ({"a": X}, {}, "must hold an array 'x'; it holds 'a'"),
        ({"x": X}, {}, "expected 't' or 'y', and it holds 'x'"),
        ({"x": X, "t": X}, {"target": "z"}, "expected 'z', and it holds 'x', 't'"),
        ({"x": X, "t": X[:5]}, {}, r"'t' must have the shape \(12,\) .* not \(5, 2\)"),
        ({"x": X, "t": np.zeros((12, 1, 1))}, {}, "'t' must have the shape"),
        ({"x": np.asarray(list("ab")), "t": X}, {}, "'x' must hold real numbers, not <U1"),
        ({"x": X[:0], "t": X[:0]}, {}, "'x' must not be empty"),
        (
            {"x": np.where(X > 19, np.nan, X), "t": X},
            {},
            r"'x' has missing .* in 2 row\(s\): 10, 11",
        ),
        ({"x": X, "t": np.where(X > 9, np.inf, X)}, {}, r"in 7 row\(s\): 5, 6, 7, 8, 9, \.\.\. "),
        ({"x": X, "t": X.astype(complex)}, {}, "'t' must hold numbers or text, not complex"),
        ({"x": X.astype(object), "t": X}, {}, "cannot be read as an NPZ file of plain arrays"),
        ({"x": X * 1e300, "t": X}, {}, "'x' holds .* beyond what a float32"),
        ({"x": X, "t": X.astype(str)}, {}, "'t' must be one-dimensional to hold labels"),
        ({"x": X, "t": X}, {"task": "binary"}, "must hold one column for binary"),
        ({"x": X, "t": X}, {"task": "classification"}, "must hold labels or one-hot rows"),
        (
            {"x": X, "t": np.asarray(["1", "2"] * 6)},
            {"task": "regression"},
            "must hold numbers for regression, not '1'",
        ),
    ],
)
def test_wrong_npz_tables(save, arrays, options, match):
    with pytest.raises(ValueError, match=match):
        nd.Table(save(**arrays), **options)


def test_files_that_are_no_npz(tmp_path, save):
    path = tmp_path / "data.npz"
    for content in (b"", b"a,b\n1,2\n", b"PK\x03\x04nonsense"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"data.npz cannot be read as an NPZ file"):
            nd.Table(path)
    whole = save(x=X, t=X).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"data.npz cannot be read as an NPZ file"):
        nd.Table(path)
    with path.open("wb") as file:
        np.save(file, X)
    with pytest.raises(ValueError, match=r"data.npz cannot be read as an NPZ file"):
        nd.Table(path)
    for option in ({"ignore": "x"}, {"header": True}, {"delimiter": ","}, {"encoding": "utf-8"}):
        with pytest.raises(ValueError, match=f"{next(iter(option))} is for CSV files"):
            nd.Table(save(x=X, t=X), **option)
    with pytest.raises(TypeError, match=r"target must be an array's name .* not 1"):
        nd.Table(save(x=X, t=X), 1)


def test_everything_public_is_there():
    for name in nd.__all__:
        assert getattr(nd, name).__doc__
