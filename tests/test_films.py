"""Films and pictures of a model as it learns."""

import io
import shutil
import sys

import numpy as np
import pytest

import npnn
from npnn import plots
from npnn.callbacks import Film, Frames
from npnn.callbacks.frames import moments
from npnn.cli import main

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")

DATA = npnn.datasets.XORTwoClasses(seed=0, num_data=40)


def classifier() -> npnn.Sequential:
    return npnn.Sequential(
        [npnn.Dense(2, 4), npnn.Tanh(), npnn.Dense(4, 2), npnn.Softmax()], seed=0
    )


def opened(png: bytes):
    return Image.open(io.BytesIO(png))


def test_a_film_has_a_picture_for_each_moment_and_ends_with_the_last(tmp_path):
    film = Film(tmp_path / "xor.gif", DATA, frames=4, seconds=1)
    classifier().fit(DATA, epochs=9, callbacks=[film])
    assert [epoch for epoch, _ in film.taken] == [0, 1, 4, 9]
    with Image.open(tmp_path / "xor.gif") as gif:
        assert gif.format == "GIF"
        assert gif.n_frames == 4  # the last one stands, which is one picture for a GIF
        gif.seek(0)
        first = np.asarray(gif.convert("RGB"), int)
        gif.seek(3)
        assert np.abs(np.asarray(gif.convert("RGB"), int) - first).mean() > 1.0
        assert gif.info["duration"] >= 2000
    assert [file.name for file in tmp_path.iterdir()] == ["xor.gif"]


def test_axes_stand_still_from_picture_to_picture():
    frames = Frames(DATA, frames=3)
    classifier().fit(DATA, epochs=4, callbacks=[frames])
    edges = []
    for _, png in frames.taken:
        picture = np.asarray(opened(png).convert("L"), int)
        white = (picture > 250).all(axis=1), (picture > 250).all(axis=0)
        edges.append((picture.shape, np.flatnonzero(~white[1]).max()))
    assert len(set(edges)) == 1


@pytest.mark.parametrize(("epochs", "frames"), [(1, 2), (5, 60), (200, 60), (1000, 2), (7, 7)])
def test_the_moments_are_few_enough_and_end_with_the_last_epoch(epochs, frames):
    found = sorted(moments(epochs, frames))
    assert len(found) < frames
    assert found[-1] == epochs
    assert found[0] >= 1


def test_a_training_that_ends_early_ends_its_film(tmp_path):
    film = Film(tmp_path / "early.gif", DATA, frames=3)

    def stop(training, metrics):
        if training.epoch == 5:
            training.stop("enough")

    classifier().fit(DATA, epochs=50, callbacks=[film, stop])
    assert film.taken[-1][0] == 5
    assert (tmp_path / "early.gif").exists()


def test_a_diverging_training_leaves_a_film(tmp_path):
    film = Film(tmp_path / "bad.gif", [[0.0], [1.0]], [[0.0], [1.0]], frames=5)
    model = npnn.Sequential([npnn.Dense(1, 1)], seed=0)
    with pytest.raises(npnn.DivergedError):
        model.fit([[0.0], [1e4]], [0.0, 1.0], epochs=80, optimizer=npnn.SGD(10.0), callbacks=[film])
    assert (tmp_path / "bad.gif").exists()


def test_whatever_is_drawn_can_be_filmed(tmp_path):
    x = np.random.default_rng(0).normal(size=(12, 16))

    def draw(training):
        assert training.model is model
        return plots.images(x.reshape(12, 4, 4))

    model = npnn.Sequential([npnn.Dense(16, 16)], seed=0)
    film = Film(tmp_path / "images.gif", draw=draw, frames=3)
    model.fit(x, x, epochs=3, callbacks=[film])
    assert (tmp_path / "images.gif").read_bytes()[:6] == b"GIF89a"


@pytest.mark.parametrize(
    ("layers", "x", "t", "title"),
    [
        ([npnn.Dense(2, 1), npnn.Sigmoid()], np.eye(2), [0, 1], "points on the right side"),
        ([npnn.Dense(2, 2), npnn.Softmax()], np.eye(2), ["a", "b"], "points on the right side"),
        ([npnn.Dense(3, 3), npnn.Softmax()], np.eye(3), np.eye(3), "right: accuracy"),
        ([npnn.Dense(1, 1)], [[0.0], [1.0]], [0.0, 1.0], "The model misses"),
        ([npnn.Dense(3, 2)], np.eye(3), np.ones((3, 2)) * [[1], [2], [3]], "Root mean square"),
    ],
    ids=["one output", "words", "three classes", "curve", "numbers"],
)
def test_the_picture_suits_inputs_and_outputs(layers, x, t, title):
    model = npnn.Sequential(layers, seed=0)
    model.class_names = ["a", "b"] if isinstance(t[0], str) else None
    figure = plots.picture_of(model, x, t)
    assert title in figure.axes[0].get_title(loc="left")


def test_the_limits_of_a_curve_are_those_of_the_targets():
    model = npnn.Sequential([npnn.Dense(1, 1)])
    x, t = [[0.0], [1.0]], [3.0, 5.0]
    limits = []
    for slope in (0.0, 100.0):
        model.set_arrays({"0.w": np.array([[slope]]), "0.b": np.array([0.0])})
        limits.append(plots.picture_of(model, x, t).axes[0].get_ylim())
    assert limits[0] == limits[1] == (2.6, 5.4)


def test_what_cannot_be_filmed_is_said_before_anything_is_done(tmp_path, monkeypatch):
    with pytest.raises(TypeError, match="Film: give either x and t, or draw"):
        Film("a.gif")
    with pytest.raises(TypeError, match="x needs its targets t"):
        Film("a.gif", np.eye(2))
    with pytest.raises(ValueError, match=r"path must end in \.gif or \.mp4, not 'a\.avi'"):
        Film("a.avi", DATA)
    with pytest.raises(ValueError, match="frames must be"):
        Film("a.gif", DATA, frames=1)
    model = classifier()
    before = np.array(model.parameters()["0.w"])
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        model.fit(DATA, callbacks=[Film(tmp_path / "no" / "a.gif", DATA)])
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(npnn.MissingError, match="pip install imageio-ffmpeg, or install ffmpeg"):
        model.fit(DATA, callbacks=[Film(tmp_path / "a.mp4", DATA)])
    np.testing.assert_array_equal(model.parameters()["0.w"], before)
    assert model.chain is None
    assert not list(tmp_path.iterdir())


def test_an_mp4_is_written_where_ffmpeg_is(tmp_path):
    if shutil.which("ffmpeg") is None:
        pytest.importorskip("imageio_ffmpeg")
    film = Film(tmp_path / "xor.mp4", DATA, frames=3, seconds=1)
    classifier().fit(DATA, epochs=3, callbacks=[film])
    assert (tmp_path / "xor.mp4").read_bytes()[4:8] == b"ftyp"


def test_codes_of_many_numbers_are_seen_where_they_spread_most():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(50, 5)) * [0.1, 3.0, 0.1, 9.0, 0.1]
    figure = plots.codes(codes, np.arange(50) % 3, class_names=["a", "b", "c"])
    points = np.concatenate([part.get_offsets() for part in figure.axes[0].collections])
    np.testing.assert_allclose(np.abs(points).max(), np.abs(codes - codes.mean(0)).max(), rtol=0.1)
    assert len(figure.axes[0].collections) == 3
    with pytest.raises(ValueError, match=r"points must have the shape \(samples, 2 or more\)"):
        plots.codes([[1.0]])
    with pytest.raises(ValueError, match="2 codes do not go with classes"):
        plots.codes(np.eye(2), [1])


def test_images_stand_side_by_side():
    figure = plots.images(np.zeros((5, 4, 4, 1)), list("abcde"), columns=3)
    assert [axes.get_title() for axes in figure.axes] == list("abcde")
    assert plots.images(np.zeros((2, 4, 4, 3))).axes[0].images[0].get_array().shape == (4, 4, 3)
    with pytest.raises(ValueError, match="pictures must have the shape"):
        plots.images(np.zeros((5, 4)))
    with pytest.raises(ValueError, match="1 titles do not go with 5 pictures"):
        plots.images(np.zeros((5, 4, 4)), ["a"])


def test_the_command_leaves_a_film_and_a_report_and_takes_them_away(tmp_path, capsys):
    command = ["train", "xor-two-classes", "--epochs", "2", "--output", str(tmp_path)]
    assert main([*command, "--film", "--report"]) == 0
    printed = capsys.readouterr().out
    assert "film.gif" in printed
    assert "report.html" in printed
    assert (tmp_path / "film.gif").read_bytes()[:6] == b"GIF89a"
    assert "Training on xor-two-classes" in (tmp_path / "report.html").read_text()
    assert main(command) == 0
    assert not (tmp_path / "film.gif").exists()
    assert not (tmp_path / "report.html").exists()


def test_the_film_of_a_table_is_in_the_units_of_its_target(tmp_path, monkeypatch):
    x = np.linspace(0.0, 1.0, 60)
    lines = ["x,price", *(f"{a:.4f},{5000.0 + 2000.0 * a:.2f}" for a in x)]
    (tmp_path / "prices.csv").write_text("\n".join(lines))
    seen = []
    drawn = plots.picture_of

    def look(model, x, t):
        figure = drawn(model, x, t)
        seen.append(np.asarray(figure.axes[0].lines[0].get_ydata()))
        return figure

    monkeypatch.setattr(plots, "picture_of", look)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "prices.csv", "--film", "--epochs", "4", "--quiet"]) == 0
    assert 4500.0 < seen[-1].min() < seen[-1].max() < 7500.0
