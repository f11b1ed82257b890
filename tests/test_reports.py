"""Counts, shares and tables, against numbers worked out by hand."""

import numpy as np
import pytest

from npnn import History, reports

# Three classes: rows are true, columns predicted. The last class is never predicted.
COUNTS = [[3, 1, 0], [1, 5, 0], [0, 2, 0]]


def test_counts_have_true_classes_in_rows():
    counts = reports.confusion_counts([0, 0, 1, 2, 2], [0, 1, 1, 1, 1], 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [0, 2, 0]]


def test_counts_agree_with_counting_one_by_one():
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 7, (2, 500))
    counts = reports.confusion_counts(true, predicted)
    for i, j in np.ndindex(7, 7):
        assert counts[i, j] == sum((true == i) & (predicted == j))


def test_a_class_without_samples_is_counted_if_it_is_asked_for():
    assert reports.confusion_counts([0], [0], 2).tolist() == [[1, 0], [0, 0]]
    assert reports.confusion_counts([], [], 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("classes", "predicted", "num", "message"),
    [
        ([0, 1], [0], 2, "2 classes do not go with 1"),
        ([0, 2], [0, 1], 2, "classes must be from 0 to 1, but there is a 2"),
        ([0, 1], [-1, 1], 2, "predicted must be from 0 to 1, but there is a -1"),
        ([0.5], [0], 2, "classes must be integers"),
        ([[0]], [[0]], 2, "classes must be integers"),
    ],
)
def test_classes_that_cannot_be_counted_are_named(classes, predicted, num, message):
    with pytest.raises(ValueError, match=message):
        reports.confusion_counts(classes, predicted, num)


def test_precision_recall_and_f1_by_hand():
    first, second, third = reports.class_reports(COUNTS, ["a", "b", "c"])
    assert (first.name, first.precision, first.recall, first.f1, first.support) == (
        "a",
        3 / 4,
        3 / 4,
        3 / 4,
        4,
    )
    assert second.precision == 5 / 8
    assert second.recall == 5 / 6
    assert second.f1 == pytest.approx(2 * (5 / 8) * (5 / 6) / (5 / 8 + 5 / 6))
    assert (third.precision, third.recall, third.f1, third.support) == (None, 0.0, 0.0, 2)


def test_a_class_without_samples_has_no_recall():
    report = reports.class_reports([[2, 0], [0, 0]])[1]
    assert (report.precision, report.recall, report.f1, report.support) == (None, None, None, 0)


def test_the_table_has_a_line_for_each_class_and_the_means():
    lines = reports.class_table(COUNTS, ["a", "b", "c"]).splitlines()
    assert lines[0].split() == ["class", "precision", "recall", "F1", "support"]
    assert lines[2].split() == ["a", "0.7500", "0.7500", "0.7500", "4"]
    assert lines[4].split() == ["c", reports.NOTHING, "0.0000", "0.0000", "2"]
    assert lines[5].split()[:4] == ["unweighted", "mean", "0.6875", "0.5278"]


def test_names_that_look_like_numbers_stay_as_they_are():
    assert "007" in reports.class_table([[1, 0], [0, 1]], ["007", "1e5"])
    assert "1e5" in reports.class_table([[1, 0], [0, 1]], ["007", "1e5"])


@pytest.mark.parametrize(
    ("counts", "names", "message"),
    [
        ([[1, 2]], None, "square"),
        (np.zeros((0, 0)), None, "square"),
        ([[1]], ["a", "b"], "2 class names do not go with 1 classes"),
    ],
)
def test_counts_of_a_wrong_shape_are_refused(counts, names, message):
    with pytest.raises(ValueError, match=message):
        reports.class_reports(counts, names)


def test_metrics_stand_beside_each_other():
    table = reports.metrics_table(
        {"training": {"loss": 0.25, "accuracy": 1.0}, "validation": {"loss": 1.5e-7}}
    ).splitlines()
    assert table[0].split() == ["loss", "accuracy"]
    assert table[2].split() == ["training", "0.2500", "1.0000"]
    assert table[3].split() == ["validation", "1.500e-07", reports.NOTHING]


def test_a_table_of_many_metrics_is_turned_to_fit_a_terminal():
    names = ["loss", "accuracy", "f1", "roc_auc", "precision", "recall", "log_loss", "top_5"]
    parts = {part: dict.fromkeys(names, 0.5) for part in ("training", "validation")}
    table = reports.metrics_table(parts).splitlines()
    assert max(map(len, table)) <= 80
    assert table[0].split() == ["training", "validation"]
    assert [line.split() for line in table[2:]] == [[name, "0.5000", "0.5000"] for name in names]


def test_regression_metrics_by_hand():
    metrics = reports.regression_metrics([[1.0], [2.0], [3.0]], [[1.0], [2.0], [6.0]])
    assert metrics["rms error"] == pytest.approx(3**0.5)
    assert metrics["R²"] == pytest.approx(1 - 9 / 14)
    assert "R²" not in reports.regression_metrics([[1.0]], [[2.0]])
    with pytest.raises(ValueError, match="do not go with"):
        reports.regression_metrics([[1.0]], [1.0])


def test_the_time_line_counts_epochs_and_samples():
    history = History({"loss": [1.0]})
    history.seconds, history.samples = 2.0, 3000
    assert reports.time_line(history) == "1 epoch in 2.00 s, 1,500 samples per second"
