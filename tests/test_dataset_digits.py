"""Data sets keep the digits of their numbers, and look at what they are made of as fit does."""

import numpy as np
import pytest

import npnn
from npnn import datasets as nd

STAMPS = 1_700_000_000 + np.arange(200)
T = np.sin(np.arange(200) / 30.0)


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.uint32])
def test_close_numbers_far_from_zero_stay_apart_in_a_dataset(dtype):
    data = nd.Dataset(STAMPS.astype(dtype), T, seed=0)
    assert len(np.unique(data.x_data)) == 200
    inputs, targets, _ = data.get_train_batch(100)
    np.testing.assert_allclose(targets, np.sin((inputs - STAMPS[0]) / 30.0), atol=1e-6)
    far, near = (npnn.Sequential([npnn.Dense(1, 4), npnn.Dense(4, 1)], seed=0) for _ in range(2))
    close = nd.Dataset(np.arange(200.0), T, seed=0)
    assert far.fit(data, epochs=2) == {
        name: pytest.approx(value, rel=1e-4) for name, value in near.fit(close, epochs=2).items()
    }
    optimizer = npnn.Adam()
    optimizer.model = far
    optimizer.step(*data.get_train_batch(8))
    y = far.predict(data.x_data)
    np.testing.assert_allclose(y, near.predict(close.x_data), atol=0.02)


def test_numbers_that_float32_tells_apart_are_kept_as_float32():
    for x in (np.arange(200.0), np.linspace(1000.0, 1001.0, 200), np.full(200, 0.1), T * 1e-30):
        assert nd.Dataset(x, T).x_data.dtype == np.float32
    noise = 0.3 + np.where(np.arange(200) % 2, 5e-17, 0.0)  # of rounding alone
    assert nd.Dataset(noise, T).x_data.dtype == np.float32


def test_targets_keep_their_digits_until_fit_says_what_to_do():
    data = nd.Dataset(np.arange(200.0), STAMPS.astype(float), seed=0)
    assert len(np.unique(data.y_data)) == 200
    with pytest.raises(ValueError, match=r"targets at position .* subtract their mean first"):
        npnn.Sequential([npnn.Dense(1, 1)]).fit(data)


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_close_numbers_far_from_zero_stay_apart_in_a_table(kind, tmp_path):
    path = tmp_path / f"times.{kind}"
    if kind == "csv":
        rows = [f"{s},{t}" for s, t in zip(STAMPS, T, strict=True)]
        path.write_text("\n".join(["time,value", *rows]))
    else:
        np.savez(path, x=STAMPS[:, None], t=T)
    data = nd.Table(path, seed=0)
    assert len(np.unique(data.x_data)) == 200
    model = npnn.Sequential([npnn.Dense(1, 1)], seed=0)
    model.fit(data, epochs=1)
    expected = model.predict(data.schema.read(path)[0])
    assert len(np.unique(expected)) == 200
    one = tmp_path / f"one.{kind}"
    if kind == "csv":
        one.write_text(f"time\n{STAMPS[77]}\n")
    else:
        np.savez(one, x=STAMPS[77:78, None])
    np.testing.assert_array_equal(model.predict(data.schema.read(one)[0]), expected[77:78])


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (
            np.ma.array([[1.0], [2.0]] * 4, mask=[[0], [1]] * 4),
            ValueError,
            "x: 4 values are hidden",
        ),
        ((row for row in np.ones((8, 1))), TypeError, "x must hold real numbers: a generator"),
        ([[2**70]] * 8, ValueError, "x: integers must fit 64 bits"),
        (np.ones((8, 1)) * 1j, TypeError, "x must hold real numbers: .* complex128"),
    ],
)
def test_a_dataset_refuses_what_fit_refuses(x, error, message):
    with pytest.raises(error, match=message):
        nd.Dataset(x, np.arange(8.0))


def test_a_dataset_takes_tensors_and_matrices():
    torch = pytest.importorskip("torch")
    x = np.arange(8.0)[:, None]
    for given in (torch.tensor(x, requires_grad=True), x.view(np.matrix), x.astype(object)):
        data = nd.Dataset(given, np.arange(8.0))
        assert type(data.x_data) is np.ndarray
        np.testing.assert_array_equal(data.x_data, x)


# Normalisations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [npnn.Normalization.standard, npnn.Normalization.min_max])
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (
            [[1.0], [np.nan]],
            ValueError,
            r"finite numbers, but there is a nan at sample 1, .* \(0,\)",
        ),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), ValueError, "x: 1 values are hidden by a mask"),
        (np.zeros((0, 2)), ValueError, r"samples and features, and its shape is \(0, 2\)"),
        (3.0, ValueError, r"its shape is \(\)"),
        (["a", "b"], TypeError, "x: an array of numbers"),
        (iter([1.0]), TypeError, "x: a list_iterator can be walked over only once"),
    ],
)
def test_no_normalisation_is_made_of_what_fit_refuses(make, x, error, message):
    with pytest.raises(error, match=message):
        make(x)


def test_a_normalisation_takes_numbers_alone():
    with pytest.raises(TypeError, match="offset: an array of numbers is needed"):
        npnn.Normalization("1")
    with pytest.raises(TypeError, match="scale: an array of numbers is needed"):
        npnn.Normalization(0.0, [1.0, None])
    with pytest.raises(ValueError, match="hidden by a mask"):
        npnn.Normalization()(np.ma.array([[1.0], [2.0]], mask=[[0], [1]]))
