"""What shows itself: a report, a notebook's cell, a plot in a terminal."""

import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import npnn
from npnn import plots
from npnn.callbacks import LivePlot, Report
from npnn.plots import live

pytest.importorskip("matplotlib")


class Page(HTMLParser):
    """Collects what a page asks for, and looks whether its tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.asked, self.text = [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.asked += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img", "input", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return " ".join(self.text)


def trained(data, *layers, **options):
    model = npnn.Sequential(layers, seed=0)
    return model, model.fit(data, epochs=2, **options)


def test_a_report_holds_all_that_it_needs(tmp_path):
    data = npnn.datasets.Digits(seed=0)
    path = tmp_path / "digits.html"
    report = Report(path, data, image_shape=(8, 8), frames=3, title="<Digits> & more")
    _, history = trained(data, npnn.Dense(64, 10), npnn.Softmax(), callbacks=[report])
    text = path.read_text()
    page = Page(text)
    assert page.asked
    assert all(asked.startswith("data:image/png;base64,") for asked in page.asked)
    assert "://" not in re.sub(r"base64,[A-Za-z0-9+/=]*", "", text)
    assert "<h1>&lt;Digits&gt; &amp; more</h1>" in text
    for words in ("Configuration", "Adam(alpha=0.001", "CrossEntropyLoss(10)", "Dense(64, 10)"):
        assert words in page.words
    for words in ("Curves", "What was taken for what", "The worst mistakes", "precision"):
        assert words in page.words
    (frames,) = re.findall(r'<script type="application/json" id="frames">(.*?)</script>', text)
    said = [frame["said"] for frame in json.loads(frames)]
    assert said[0] == "before training"
    assert said[-1].startswith("epoch 2, loss ")
    assert f"validation accuracy {history['val_accuracy'][-1]:.4g}" in said[-1]
    assert [file.name for file in tmp_path.iterdir()] == ["digits.html"]


def test_the_worst_mistakes_come_first_and_are_the_models(tmp_path):
    model = npnn.Sequential([npnn.Dense(2, 2), npnn.Softmax()], seed=0)
    model.set_arrays({"0.w": np.array([[4.0, 0.0], [0.0, 4.0]]), "0.b": np.zeros(2)})
    model.chain, model.class_names = npnn.CrossEntropyLoss(2), ["left", "right"]
    x = np.array([[1.0, 0.0], [0.5, 0.0], [0.0, 1.0], [2.0, 0.0]])
    t = ["right", "right", "right", "left"]
    names = ["one", "two"]
    plots.report(tmp_path / "a.html", model, npnn.History(), x, t, feature_names=names)
    text = (tmp_path / "a.html").read_text()
    rows = re.findall(r"<tr><td>(\d+)</td><td>right</td><td>left</td><td>(\d+)% sure", text)
    assert rows == [("0", "98"), ("1", "88")]
    assert "<th>one</th><th>two</th>" in text


def test_the_report_of_a_regression_has_the_largest_misses(tmp_path):
    data = npnn.datasets.NoisySine(seed=0, num_data=40)
    model, history = trained(data, npnn.Dense(1, 1))
    x, t = data.x_validation_data, data.y_validation_data
    plots.report(tmp_path / "a.html", model, history, x, t)
    page = Page((tmp_path / "a.html").read_text())
    worst = np.abs(model.predict(x) - t).max()
    assert f"off by {worst:.4g}" in page.words
    assert "How far it misses" in page.words


def test_what_does_not_go_into_a_report_is_refused_and_nothing_is_written(tmp_path):
    data = npnn.datasets.Digits(seed=0)
    model, history = trained(data, npnn.Dense(64, 10), npnn.Softmax())
    parts = data.x_validation_data, data.y_validation_data
    path = tmp_path / "a.html"
    with pytest.raises(ValueError, match=r"image_shape=\(7, 7\) does not go with inputs"):
        plots.report(path, model, history, *parts, image_shape=(7, 7))
    with pytest.raises(ValueError, match="1 feature_names do not go with 64 columns"):
        plots.report(path, model, history, *parts, feature_names=["a"])
    assert not path.exists()


def test_a_notebook_shows_model_history_and_figure():
    data = npnn.datasets.XORTwoClasses(seed=0, num_data=20)
    model, history = trained(data, npnn.Dense(2, 2), npnn.Softmax())
    assert "Dense(2, 2)" in Page(model._repr_html_()).words
    assert "font-family: monospace" in model._repr_html_()  # a notebook's own would move columns
    assert "Sequential(" in npnn.Sequential([npnn.Dense(3)])._repr_html_()
    shown = Page(history._repr_html_())
    assert "2 epochs" in shown.words
    assert shown.asked[0].startswith("data:image/png;base64,")
    assert "0 epochs" in npnn.History()._repr_html_()
    assert history.plot()._repr_png_().startswith(b"\x89PNG")


def test_without_matplotlib_a_history_shows_its_numbers(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    history = npnn.History({"loss": [1.0, 0.5]})
    assert "<td>0.5</td>" in history._repr_html_()
    assert "<img" not in history._repr_html_()


def test_a_figure_is_shown_by_a_notebook_that_was_told_nothing():
    pytest.importorskip("IPython")
    code = (
        "from IPython.core.formatters import DisplayFormatter\n"
        "import npnn\n"
        "figure = npnn.History({'loss': [1.0, 0.5]}).plot()\n"
        "shown, _ = DisplayFormatter().format(figure)\n"
        "assert shown['image/png'].startswith(b'\\x89PNG'), list(shown)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_the_plot_in_a_terminal_is_drawn_over_the_one_before():
    pytest.importorskip("uniplot")
    data, screen = npnn.datasets.XORTwoClasses(seed=0, num_data=20), Screen()
    trained(data, npnn.Dense(2, 2), npnn.Softmax(), callbacks=[LivePlot(seconds=0, file=screen)])
    first, *others = re.split("\x1b\\[(\\d+)F\x1b\\[0J", screen.getvalue())
    assert "epoch 1 of 2: loss" in first
    assert int(others[0]) == first.count("\n")
    assert "epoch 2 of 2: loss" in others[-1]
    assert "val_loss" in others[-1]


def test_a_plot_in_a_terminal_waits_for_no_compiler(monkeypatch):
    """Numba would compile uniplot's own lines for seconds."""
    drawn = pytest.importorskip("uniplot.pixel_matrix")
    monkeypatch.setattr(drawn, "_render_batch_of_lines", None)
    history = npnn.History({"loss": [4.0, 1.0, 3.0], "val_loss": [0.1, 0.1, 1e-9]})
    text = live.text_plot(history, 3, 20)
    columns = np.array([list(line[1:21]) for line in text.splitlines()[2:13]])
    assert (columns != " ").any(axis=0).all()  # from the first to the last, without a gap


def test_where_there_is_no_terminal_only_the_last_plot_is_written():
    pytest.importorskip("uniplot")
    data, file = npnn.datasets.XORTwoClasses(seed=0, num_data=20), io.StringIO()
    trained(data, npnn.Dense(2, 2), npnn.Softmax(), callbacks=[LivePlot(seconds=0, file=file)])
    assert file.getvalue().count("epoch ") == 1
    assert "epoch 2 of 2" in file.getvalue()
    assert "\x1b" not in file.getvalue()


def test_a_loss_that_is_no_number_for_a_while_can_be_plotted():
    pytest.importorskip("uniplot")
    for loss in ([1.0], [1.0, float("nan"), 1e-9], [0.0, 0.0], [-1.0, 3.0], [5.0, 5.0]):
        assert "epoch" in live.text_plot(npnn.History({"loss": loss}), 9)


def test_a_notebook_gets_a_figure_that_is_replaced(monkeypatch):
    pytest.importorskip("IPython")
    shown = []

    class Handle:
        def update(self, figure):
            shown.append(("update", figure))

    def display(figure, display_id):
        shown.append(("display", figure))
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    data = npnn.datasets.XORTwoClasses(seed=0, num_data=20)
    trained(data, npnn.Dense(2, 2), npnn.Softmax(), callbacks=[LivePlot("notebook", seconds=0)])
    assert [kind for kind, _ in shown] == ["display", "update", "update"]


def test_a_window_that_cannot_be_opened_is_said(monkeypatch):
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "backend", "agg")
    data = npnn.datasets.XORTwoClasses(seed=0, num_data=20)
    with pytest.raises(RuntimeError, match="no window can be opened"):
        trained(data, npnn.Dense(2, 2), npnn.Softmax(), callbacks=[LivePlot("window")])


def test_a_place_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="where must be one of terminal, notebook, window"):
        LivePlot("screen")


def test_a_report_is_a_page():
    with pytest.raises(ValueError, match=r"path must end in \.html or \.htm, not 'a\.pdf'"):
        Report("a.pdf", [[0.0]], [[1.0]])
