"""Datasets: splits, batches, generated points, shipped digits, IDX files and users' tables."""

from __future__ import annotations

import gzip
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


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int64, np.float16])
@pytest.mark.parametrize("num_train", [None, 2])
def test_what_was_given_and_what_is_held_do_not_change_each_other(dtype, num_train):
    x, t, c = (
        np.full((4, 1), 7, dtype),
        np.eye(2, dtype=dtype)[[0, 1, 0, 1]],
        np.array([0, 1, 0, 1]),
    )
    data = nd.Dataset(x, t, c, train_fraction=0.5, num_train=num_train)
    x[...], t[...], c[...] = 0, 0, 1
    assert (data.x_data == 7).all()
    assert data.y_data.sum() == 4.0
    assert data.c_data.tolist() == [0, 1, 0, 1]
    data.x_data[...], data.y_data[...], data.c_data[...] = 3, 3, 3
    assert not x.any()
    assert not t.any()
    assert c.tolist() == [1] * 4


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"parts": ([0, 1], [1, 2])}, "no row in common, but row 1 is in both"),
        ({"parts": ([0, 1], [-3, 3])}, "no row in common, but row 1 is in both"),
        ({"parts": ([0, 1], [2, 4])}, "rows from 0 to 3, not 4"),
        ({"parts": ([0, -5], [2, 3])}, "rows from 0 to 3, not -5"),
        ({"parts": ([0, 1, 2, 3], [])}, "some rows for validation"),
        ({"parts": ([0.0, 1.0], [2.0])}, "some rows for training, not float64"),
        ({"parts": ([0, 1],)}, "two, of training and of validation, not 1"),
        ({"parts": ([0], [1]), "num_train": 2}, "num_train and parts contradict"),
        ({"strata": [0, 1, 0, 1], "num_train": 2}, "num_train and strata contradict"),
        ({"norm": npnn.Normalization([0, 0], [1, 1])}, "norm does not fit the inputs"),
        ({"class_names": ["a", "a"]}, "class_names must differ, but 'a' is there twice"),
    ],
)
def test_arguments_that_cannot_be_meant_are_told(how, match):
    with pytest.raises(ValueError, match=match):
        nd.Dataset(np.zeros((4, 1)), np.eye(2)[[0, 1, 0, 1]], **how)


def test_rows_of_parts_may_be_told_by_truth_values_and_from_the_end():
    x, t = np.arange(4.0)[:, None], np.arange(4.0)
    is_first = np.array([True, False, True, False])
    data = nd.Dataset(x, t, parts=(is_first, ~is_first))
    assert data.x_train_data.ravel().tolist() == [0.0, 2.0]
    assert nd.Dataset(x, t, parts=([0], [-1])).x_validation_data.item() == 3.0


def test_a_number_that_is_none_is_told_with_its_place():
    x = np.zeros((4, 2))
    x[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"row 2 has one that is not: nan at position \(1,\)"):
        nd.Dataset(x, np.zeros(4))


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


def test_everything_public_is_there():
    for name in nd.__all__:
        assert getattr(nd, name).__doc__
