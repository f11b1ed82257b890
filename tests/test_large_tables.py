"""Large tables: read by columns, alike with and without another library, and not held twice."""

from __future__ import annotations

import cProfile
import sys
import tracemalloc
from datetime import date, datetime

import numpy as np
import pytest

import npnn.datasets as nd
from npnn.datasets import big, cells, gathered, moments

COUNT = 600
RNG = np.random.default_rng(0)
NUMBERS = [f"{value:.3f}" for value in RNG.normal(size=COUNT)]


def lines(columns, mark=","):
    """A text of the columns of a dict, each of them repeated."""
    rows = [[values[row % len(values)] for values in columns.values()] for row in range(COUNT)]
    return "\n".join([mark.join(columns), *(mark.join(map(str, row)) for row in rows)]) + "\n"


@pytest.fixture(params=["pyarrow", "in parts"])
def large(request, monkeypatch):
    """Have texts of a kilobyte taken for large ones, and say who reads them."""
    if request.param == "pyarrow":
        pytest.importorskip("pyarrow")
    else:
        monkeypatch.setitem(sys.modules, "pyarrow", None)

    def begin():
        monkeypatch.setattr(big, "LARGE", 1000)
        monkeypatch.setattr(big, "HEAD", 2000)
        monkeypatch.setattr(big, "FEW", 3)
        monkeypatch.setattr(gathered, "ROWS", 50)

    begin.reader = request.param
    return begin


TEXTS = {
    "plain": lines({"a": NUMBERS, "b": ["x", "y", "z z"], "y": ["no", "yes"]}),
    "missing": lines({"a": [*NUMBERS[:9], "", "NA", "-"], "b": ["x", "", "?"], "y": ["no", "yes"]}),
    "white space": lines({"a": ["1 ", " 2", "NA ", "4"], "b": ["x ", " x", "y"], "y": ["u", "v"]}),
    "text further down": lines({"a": ["5"] * 590 + ["many"] * 10, "b": NUMBERS, "y": ["u", "v"]}),
    "gaps at first": lines({"a": [""] * 500 + ["u", "v"] * 50, "b": NUMBERS, "y": ["u", "v"]}),
    "marks": lines({"a": ["1,5", "2,5", "1.000,5"], "b": NUMBERS, "y": ["u", "v"]}, ";"),
    "quoted": lines({"a": ['"1"', '"2"'], "b": ['"u, v"', '"w ""x"""'], "y": ["u", "v"]}),
    "single quotes": lines({"a": ["'1'", "'2'"], "b": ["'u, v'", "'w'"], "y": ["'u'", "'v'"]}),
    "dates": lines(
        {
            "a": [
                f"2024-01-{day:02} {hour:02}:30:00" for day in range(1, 29) for hour in range(24)
            ],
            "b": [f"{day}.{month}.2023" for day in range(13, 29) for month in range(1, 12)],
            "y": ["u", "v"],
        }
    ),
    "numbers that are words": lines({"a": ["1e3", "inf", "nan", "1_0"], "b": [1, 2], "y": "uv"}),
    "a number as target": lines({"a": ["x", "y", "z"], "y": NUMBERS}),
    "empty": lines({"a": [""], "b": NUMBERS, "y": ["u", "v"]}),
}


@pytest.mark.parametrize("name", TEXTS)
def test_large_texts_are_read_as_small_ones(large, tmp_path, name):
    path = tmp_path / "data.csv"
    path.write_text(TEXTS[name])
    small = nd.Table(path, seed=0)
    large()
    assert big.columns_of(*arguments(path)) is not None
    found = nd.Table(path, seed=0)
    assert found.schema == small.schema
    np.testing.assert_array_equal(found.x_data, small.x_data)
    np.testing.assert_array_equal(found.y_data, small.y_data)
    np.testing.assert_array_equal(small.schema.read(path)[0], small.x_data)


def arguments(path):
    from npnn.datasets.delimited import divided

    data = path.read_bytes()
    return data, divided(path, big.head_of(data), "auto", "auto"), 1, None, None


def test_codes_that_are_said_to_be_words_stay_as_they_are_written(large, tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(lines({"zip": ["01234", "1234", "00501"], "b": NUMBERS, "y": ["u", "v"]}))
    small = nd.Table(path, kinds={"zip": "category"}, seed=0)
    assert small.schema.columns[0].categories == ("00501", "01234", "1234")
    large()
    found = nd.Table(path, kinds={"zip": "category"}, seed=0)
    assert found.schema == small.schema
    np.testing.assert_array_equal(small.schema.read(path)[0], small.x_data)


def test_a_text_is_read_once_more_where_numbers_turn_out_to_be_words(large, monkeypatch, tmp_path):
    if large.reader == "pyarrow":
        pytest.skip("of the other one")
    path = tmp_path / "data.csv"
    path.write_text(TEXTS["text further down"])
    large()
    read, parts = [], gathered._parts
    monkeypatch.setattr(gathered, "_parts", lambda *given: read.append(1) or parts(*given))
    nd.Table(path, seed=0)
    assert len(read) == 2


@pytest.mark.parametrize("more", ["0.5\n", "1,2,3,4\n", "total\n", '"1,x,u\n'])
def test_large_texts_with_other_lines_are_read_as_small_ones(large, tmp_path, more):
    path = tmp_path / "data.csv"
    path.write_text(TEXTS["plain"] + more)
    found = []
    for _ in range(2):
        try:
            found.append(nd.Table(path, seed=0).x_data.tolist())
        except ValueError as error:
            found.append(str(error))
        large()
    assert found[0] == found[1]


# ---------------------------------------------------------------------------- frames

VALUES = {
    "whole": [1, 2, 3, 4],
    "whole with gaps": [1, None, 3, 4],
    "number": [0.5, 1.5, -2.0, 8.25],
    "number with gaps": [0.5, None, float("nan"), 8.25],
    "flag": [True, False, True, True],
    "flag with gaps": [True, None, True, True],
    "word": ["a", " b", "b", "a"],
    "word with gaps": ["a", None, "b", "a"],
    "day": [date(2024, 1, 1), None, date(1950, 3, 4), date(2024, 1, 1)],
    "moment": [datetime(2024, 1, 1, 12, 30, 1), None, datetime(1950, 3, 4), datetime(2024, 1, 1)],
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_columns_of_frames_are_what_their_values_are(library, name):
    module = pytest.importorskip(library)
    make = module.table if library == "pyarrow" else module.DataFrame
    values = VALUES[name]
    table = nd.read_table(make({"column": values}))
    expected = nd.read_table(Plain({"column": values}))
    found, wanted = table.cells[0], expected.cells[0]
    assert found.missing.tolist() == wanted.missing.tolist()
    assert set(found.distinct) - {""} == set(found.present)
    for way in ("floats", "times"):
        one, other = getattr(found, way), getattr(wanted, way)
        assert (one is None) == (other is None)
        if other is not None:
            np.testing.assert_array_equal(one, other)
    if found.floats is None and found.times is None:
        assert found.texts == wanted.texts


class Plain(dict):
    """A frame of Python's own values."""

    @property
    def columns(self):
        return list(self)


def test_categories_of_a_frame_that_no_cell_holds_are_none():
    pandas = pytest.importorskip("pandas")
    words = pandas.Categorical(["a", "b", None, "b"] * 5, categories=["c", "b", "a"])
    data = nd.Table(pandas.DataFrame({"word": words, "y": ["u", "v"] * 10}))
    assert data.schema.columns[0].categories == ("a", "b")
    pyarrow = pytest.importorskip("pyarrow")
    flags = pyarrow.table({"flag": [True, None] * 10, "y": ["u", "v"] * 10})
    assert nd.Table(flags).schema.columns[0].categories == ("True",)


# ---------------------------------------------------------------------------- by columns


@pytest.fixture
def frame():
    pyarrow = pytest.importorskip("pyarrow")
    count = 30_000
    rng = np.random.default_rng(0)
    columns = {f"a{i}": rng.normal(size=count) for i in range(8)}
    columns["gaps"] = [None if row % 50 == 0 else row * 0.25 for row in range(count)]
    columns["word"] = rng.choice(["u", "v", "w"], count)
    columns["when"] = np.datetime64("2013-01-01T00:00", "s") + np.arange(count) * np.timedelta64(
        120, "s"
    )
    columns["y"] = rng.choice(["yes", "no"], count)
    return pyarrow.table(columns)


def test_typed_columns_are_not_looked_at_cell_by_cell(frame):
    nd.Table(frame, "y", seed=0)  # imports what it needs
    profile = cProfile.Profile()
    profile.runcall(nd.Table, frame, "y", seed=0)
    assert sum(entry.callcount for entry in profile.getstats()) < frame.num_rows / 3


def test_the_inputs_are_not_held_more_than_twice(frame):
    nd.Table(frame, "y", seed=0)
    tracemalloc.start()
    try:
        data = nd.Table(frame, "y", seed=0)
        now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    held = data.x_data.nbytes
    assert data.x_data.shape[1] == 18
    assert now < 2.6 * held  # all, and the two parts; targets and classes
    assert most < 5.0 * held


def test_writing_into_a_dataset_does_not_reach_a_frame():
    pandas = pytest.importorskip("pandas")
    values = np.arange(20, dtype=np.float32) * 1.5
    frame = pandas.DataFrame({"a": values, "y": values[::-1].copy()})
    data = nd.Table(frame)
    data.x_data[:] = 7.0
    assert frame["a"].tolist() == (np.arange(20) * 1.5).tolist()


@pytest.mark.parametrize("month_first", [False, True])
def test_many_dates_are_read_as_each_by_itself(month_first):
    form = moments.Moments("day", month_first)
    texts = [
        f"{day}{mark}{clock}"
        for day in ("2024-01-05", "5.1.2024", "1/13/2024", "13/1/2024", "Mar 1, 2024", "2024-13-01",
                    "Fri, 1 Mar 2024", "1st March 2024", "20240105", "", "T", "May 2024")
        for mark in (" ", "T", ", ", "", "  ")
        for clock in ("12:30", "12:30:15", "1:30 PM", "23:59:59.123", "25:00", "12.30.15", "",
                      "12:30Z", "12:30:00 +01:00", ":", "9:5", "PM")
    ]  # fmt: skip
    assert [None if value != value else value for value in as_floats(form.read(texts))] == [
        form(text) for text in texts
    ]


def as_floats(values):
    return np.asarray(values, np.float64).tolist()


def test_text_that_is_held_once_keeps_what_cells_hold():
    found = cells.factors_of(["a ", "b", "a", "c"], np.asarray([3, 2, 0, 2]))
    assert [found.distinct[code] for code in found.codes] == ["c", "a", "a", "a"]
    assert sorted(found.distinct) == ["a", "c"]
    part = cells.Cells(found).take(np.asarray([1, 2]))
    assert part.distinct == ["a"]
    assert part.codes.tolist() == [0, 0]
