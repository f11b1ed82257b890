"""Pictures: that they show what they should, and touch nothing global."""

import subprocess
import sys

import numpy as np
import pytest

import npnn
from npnn import plots

matplotlib = pytest.importorskip("matplotlib")

HISTORY = {
    "loss": [2.0, 0.5, 0.05],
    "val_loss": [1.8, 0.4, 0.06],
    "accuracy": [0.3, 0.8, 0.99],
    "val_accuracy": [0.4, 0.9, 0.97],
}


def model(*layers: npnn.Layer) -> npnn.Sequential:
    return npnn.Sequential(layers, seed=0)


def is_png(path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") and path.stat().st_size > 5000


def texts(figure) -> set[str]:
    return {text.get_text() for text in figure.findobj(matplotlib.text.Text)}


def test_curves_of_loss_and_accuracy_stand_side_by_side(tmp_path):
    figure = plots.curves(HISTORY, tmp_path / "curves.png")
    assert is_png(tmp_path / "curves.png")
    loss, accuracy = figure.axes
    assert (loss.get_yscale(), accuracy.get_yscale()) == ("log", "linear")
    assert list(loss.lines[0].get_ydata()) == HISTORY["loss"]
    assert list(accuracy.lines[2].get_ydata()) == HISTORY["val_accuracy"]
    assert list(loss.lines[0].get_xdata()) == [1, 2, 3]
    assert {"training", "validation", "Validation loss 0.06"} <= texts(figure)


def test_a_loss_within_a_decade_is_drawn_linearly():
    assert plots.curves({"loss": [1.0, 0.5]}).axes[0].get_yscale() == "linear"


@pytest.mark.parametrize(
    "history",
    [
        {"loss": [0.5]},
        {"loss": [0.0, 0.0]},
        {"loss": [1.0, -1.0, -3.0]},
        {"loss": [1.0, float("nan"), 1e-9]},
        {"loss": [1e30, 1e-30]},
        {"loss": [1.0] * 3, "accuracy": [1.0] * 3},
    ],
)
def test_any_history_can_be_drawn(history, tmp_path):
    figure = plots.curves(history, tmp_path / "curves.png")
    assert len(figure.axes) == len(history)
    assert is_png(tmp_path / "curves.png")


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match="no epoch"):
        plots.curves(npnn.History())


def test_the_confusion_matrix_shows_each_count_and_recall(tmp_path):
    counts = [[17, 3], [0, 41]]
    figure = plots.confusion_matrix(counts, ["cat", "dog"], tmp_path / "confusion.png")
    assert is_png(tmp_path / "confusion.png")
    assert {"17", "3", "0", "41", "cat", "dog", "0.850", "1.000"} <= texts(figure)
    assert "58 of 61 right: accuracy 0.9508" in texts(figure)


def test_colours_are_those_of_the_share_of_the_true_class():
    image = plots.confusion_matrix([[1, 1], [50, 50]]).axes[0].images[0].get_array()
    np.testing.assert_allclose(image[0], image[1][::-1])


def test_a_class_without_samples_and_many_long_names_can_be_drawn(tmp_path):
    names = [f"a rather long name of class {i}" for i in range(45)]
    plots.confusion_matrix(np.eye(45, dtype=int), names, tmp_path / "many.png")
    plots.confusion_matrix([[0, 0], [0, 0]], path=tmp_path / "none.png")
    assert is_png(tmp_path / "many.png")
    assert is_png(tmp_path / "none.png")


def test_a_matrix_of_many_classes_has_a_size_and_no_zeros():
    figure = plots.confusion_matrix(np.eye(40, dtype=int) * 7)
    assert max(figure.get_size_inches()) < 13
    assert "7" in texts(figure)
    assert all(text.get_text() == "7" for text in figure.axes[0].texts if text.get_size() < 6)
    assert not [text for text in figure.axes[0].texts if text.get_text() == "0"]
    assert [text for text in plots.confusion_matrix(np.eye(3)).axes[0].texts if "0" in text._text]


@pytest.mark.parametrize(
    ("before", "after"),
    [(True, False), (False, True), (True, True)],
    ids=["different at the end", "at the beginning", "in the middle"],
)
def test_shortened_names_stay_distinct(before, after):
    start, end = "x" * 40 * before, "y" * 40 * after
    middles = [f"{i:03}" for i in range(12)]
    names = [f"{start}{middle}{end}" for middle in middles] + ["short"]
    short = plots.shortened(names)
    assert len(set(short)) == len(names)
    assert max(map(len, short)) <= 24
    assert short[-1] == "short"


def test_names_are_shortened_at_their_end_if_that_keeps_them_apart():
    names = ["setosa, the bristle-pointed iris", "versicolor, the harlequin blueflag"]
    assert plots.shortened(names) == ["setosa, the bristle-poi…", "versicolor, the harlequ…"]


def test_names_and_counts_must_agree():
    with pytest.raises(ValueError, match="1 class names do not go with 2"):
        plots.confusion_matrix([[1, 0], [0, 1]], ["one"])


@pytest.mark.parametrize(
    "layers",
    [
        (npnn.Dense(2, 1), npnn.Sigmoid()),
        (npnn.Dense(2, 2), npnn.Softmax()),
        (npnn.Dense(2, 5), npnn.Softmax()),
    ],
    ids=["one output", "two outputs", "five outputs"],
)
def test_the_boundary_is_drawn_for_sigmoid_and_softmax(layers, tmp_path):
    rng = np.random.default_rng(0)
    network = model(*layers)
    network.norm = npnn.Normalization([100.0, 0.0], [10.0, 1.0])
    x = rng.normal([100.0, 0.0], [10.0, 1.0], (60, 2))
    c = np.asarray(network.predict_class(x))
    c[:2] = 1 - np.minimum(c[:2], 1)
    figure = plots.decision_boundary(network, x, c, tmp_path / "boundary.png")
    assert is_png(tmp_path / "boundary.png")
    assert "58 of 60 points on the right side" in texts(figure)
    assert "taken for another" in texts(figure)
    (axes,) = figure.axes
    assert axes.get_xlim()[0] < x[:, 0].min()
    assert axes.get_xlim()[1] > x[:, 0].max()


def test_the_plane_is_coloured_by_the_class_that_the_model_gives():
    network = model(npnn.Dense(2, 1), npnn.Sigmoid())
    network.set_arrays({"0.w": np.array([[9.0], [0.0]]), "0.b": np.array([0.0])})
    figure = plots.decision_boundary(network, [[-1.0, -1.0], [1.0, 1.0]], [0, 1])
    image = figure.axes[0].images[0].get_array()
    left, right = image[120, 0], image[120, -1]
    assert left[2] > left[0]  # blue, the first class
    assert right[0] > right[2]  # orange, the second


def test_many_classes_have_colours_of_their_own():
    network = model(npnn.Dense(2, 30), npnn.Softmax())
    x = np.random.default_rng(0).normal(size=(60, 2))
    names = [f"a rather long name of class {i}" for i in range(30)]
    figure = plots.decision_boundary(network, x, np.arange(60) % 30, class_names=names)
    points = [part for part in figure.axes[0].collections if part.get_label().startswith("a rat")]
    assert len(points) == len({tuple(part.get_facecolor()[0]) for part in points}) == 30
    assert len({part.get_label() for part in points}) == 30
    figure.draw_without_rendering()
    axes = figure.axes[0].get_window_extent()
    assert axes.height > 0.5 * axes.width


def test_classes_may_be_one_hot_or_a_column():
    network = model(npnn.Dense(2, 2), npnn.Softmax())
    x, c = [[0.0, 0.0], [1.0, 1.0]], np.array([0, 1])
    plain = texts(plots.decision_boundary(network, x, c))
    assert texts(plots.decision_boundary(network, x, np.eye(2))) == plain
    assert texts(plots.decision_boundary(network, x, c[:, None])) == plain


@pytest.mark.parametrize(
    ("x", "c", "names", "message"),
    [
        ([[0.0]], [0], None, r"x must have the shape \(samples, 2\)"),
        (np.zeros((0, 2)), [], None, r"x must have the shape \(samples, 2\)"),
        ([[0.0, 0.0]], [0, 1], None, "1 points do not go with 2 classes"),
        ([[0.0, 0.0]], [7], None, "classes must be from 0 to 1"),
        ([[0.0, 0.0]], [1], ["a"], "1 class names do not go with 2 classes"),
    ],
)
def test_points_that_do_not_fit_are_refused(x, c, names, message):
    with pytest.raises(ValueError, match=message):
        plots.decision_boundary(model(npnn.Dense(2, 1), npnn.Sigmoid()), x, c, None, names)


def test_the_fitted_curve_is_the_models(tmp_path):
    network = model(npnn.Dense(1, 1))
    network.set_arrays({"0.w": np.array([[2.0]]), "0.b": np.array([1.0])})
    x = np.array([0.0, 1.0, 4.0])
    figure = plots.regression(network, x, 2 * x + 1.5, tmp_path / "regression.png")
    assert is_png(tmp_path / "regression.png")
    line = figure.axes[0].lines[-1]
    np.testing.assert_allclose(line.get_ydata(), 2 * line.get_xdata() + 1, rtol=1e-5)
    assert "The model misses 3 targets by 0.5 (root mean square)" in texts(figure)


def test_no_point_is_hidden_by_the_curve():
    figure = plots.regression(model(npnn.Dense(1, 1)), [0.0, 1.0, 2.0], [0.0, 1.0, 2.0])
    (axes,) = figure.axes
    (points,) = axes.collections
    assert all(line.get_zorder() < points.get_zorder() for line in axes.lines)
    assert len(axes.lines) == 1


def test_predicted_values_are_drawn_against_true_ones(tmp_path):
    y, t = np.array([[1.0], [2.0], [4.0]]), np.array([[1.0], [2.5], [3.5]])
    figure = plots.predicted_against_true(y, t, tmp_path / "predicted.png", "price")
    assert is_png(tmp_path / "predicted.png")
    (points,) = figure.axes[0].collections
    np.testing.assert_array_equal(points.get_offsets(), np.concatenate([t, y], axis=1))
    assert {"price, true", "price, predicted"} <= texts(figure)
    assert any("error 0.4082, R² 0.8421" in text for text in texts(figure))
    several = plots.predicted_against_true(np.eye(3), np.zeros((3, 3)))
    assert {"output 1", "output 2", "output 3"} <= texts(several)
    plots.predicted_against_true([1.0], [1.0])
    with pytest.raises(ValueError, match=r"must be of one shape, .* not \(3, 1\) and \(3,\)"):
        plots.predicted_against_true(y, t[:, 0])


def test_several_outputs_are_several_curves():
    figure = plots.regression(model(npnn.Dense(1, 3)), [[0.0], [1.0]], np.zeros((2, 3)))
    assert {"model 1", "model 2", "model 3"} <= texts(figure)
    with pytest.raises(ValueError, match="2 points do not go with 3 targets"):
        plots.regression(model(npnn.Dense(1, 1)), [0.0, 1.0], [0.0, 1.0, 2.0])


def test_no_window_no_pyplot_and_no_setting_is_touched(tmp_path):
    code = (
        "import sys, matplotlib\n"
        "before = matplotlib.rcParams.copy()\n"
        "from npnn import plots\n"
        f"plots.curves({HISTORY!r}, {str(tmp_path / 'a.png')!r})\n"
        f"plots.confusion_matrix([[1, 0], [0, 1]], None, {str(tmp_path / 'b.png')!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert matplotlib.rcParams.copy() == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plots.curves(HISTORY, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_without_matplotlib_the_error_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(npnn.MissingError, match=r"pip install 'npnn-xp\[plot\]'"):
        plots.curves(HISTORY)


def test_codes_of_many_classes_are_told_apart_by_more_than_their_hue():
    figure = plots.codes(np.zeros((40, 2)), np.arange(40))
    looks = {
        (tuple(drawn.get_facecolor()[0]), drawn.get_paths()[0].vertices.tobytes())
        for drawn in figure.axes[0].collections
    }
    assert len(looks) == 40
    assert len({colour for colour, _ in looks}) == len(plots.style.PALETTE)
