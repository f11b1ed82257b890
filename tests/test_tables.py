"""Users' own tables: files and frames, what their columns become, and how others are read."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import sqlite3
import sys
import zipfile

import numpy as np
import pytest

import npnn.datasets as nd
from npnn.datasets import big, formats, moments, numerals
from npnn.errors import MissingError


def batches(data):
    return [data.get_train_batch(3)[0].tolist() for _ in range(20)]


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
    path = write("a,b,c\n1,0.5,2\n2,1.5,4\n3,2.5,1\n4,3.5,7\n")
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
        (list(range(10)) * 4, "classification", tuple(map(str, range(10)))),
        (list(range(11)) * 4, "regression", None),
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
    path = write("colour,size,t\n" + "red,1,0.5\nblue,2,1.5\nred,3,2.5\n" * 4)
    data = nd.Table(path, seed=0)
    assert data.feature_names == ("colour=blue", "colour=red", "size")
    np.testing.assert_array_equal(data.x_data, [[0, 1, 1], [1, 0, 2], [0, 1, 3]] * 4)


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "NA",
        "\\N",
        "nan",
        "NaN",
        "null",
        "?",
        " N/A ",
        "inf",
        "-inf",
        "#N/A",
        "-",
        ".",
        "#DIV/0!",
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_missing_values_have_a_place(write, cell, place):
    row = ["9", "red", "1.5"]
    row[place] = cell
    lines = [f"{i},{'red' if i % 2 else 'blue'},{i}.5" for i in range(1, 9)]
    path = write("\n".join(["a,b,c", *lines[:4], ",".join(row), *lines[4:]]) + "\n")
    data = nd.Table(path, seed=0)
    if place == 2:  # a row without a target
        assert data.x_data[:, 0].tolist() == list(range(1, 9))
        assert "1 row(s) without a target left out" in data.notes
        assert np.isnan(data.schema.read(path)[1][:, 0]).tolist() == [row == 4 for row in range(9)]
        return
    assert data.filled == {"ab"[place]: 1}
    train = data.x_train_data[np.isin(data.x_train_data[:, 0], range(1, 9))]
    if place == 0:
        assert data.x_data[4, 0] == np.median(train[:, 0][train[:, 0] != data.x_data[4, 0]])
    else:
        shares = data.schema.columns[1].shares
        np.testing.assert_allclose(data.x_data[4, 1:], shares, rtol=1e-6)
        assert sum(shares) == pytest.approx(1.0)


def ages(*cells):
    """A table whose first column is numbers but for `cells`, from line 4 on."""
    numbers = [20, 44, *cells, *range(21, 40)]
    return "age,t\n" + "".join(f"{cell},{row}.5\n" for row, cell in enumerate(numbers))


def test_a_few_cells_of_text_among_numbers_count_as_missing(write):
    data = nd.Table(write(ages("unknown", "x", "y")), seed=0)
    assert data.filled == {"age": 3}
    numbers = [row[0] for row in data.x_train_data.tolist()]
    assert data.schema.columns[0].fill == np.median([n for n in numbers])
    targets = nd.Table(write(ages("many")), "age")
    assert targets.task == "regression"
    assert len(targets.x_data) == 21
    assert "no number among the targets: 'many'" in targets.notes
    assert nd.Table(write(column([1, 2, 2, 1, "x", 1] * 2))).class_names == ("1", "2", "x")
    # A header is still one, and what occurs again is none.
    assert nd.read_table(write(ages("unknown"))).has_header
    assert not nd.read_table(write("unknown,1\n1,2\n2,3\n3,4\nunknown,5\n")).has_header


def test_half_of_the_values_may_be_numbers(write):
    sizes = "".join(f"{size},{row}.5\n" for row, size in enumerate(["S", "M", "38", "40"] * 9))
    data = nd.Table(write("size,t\n" + sizes), seed=0)
    assert data.feature_names == ("size=38", "size=40", "size=M", "size=S")


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
    data = nd.Table(path, decimal=decimal, train_fraction=0.5)
    assert data.x_data[:, 0].tolist() == [1.5, -2.25]
    assert data.schema.columns[0].decimal == ","
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
    assert schema.left_out == ((0, "id", "ignored"),)
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


@pytest.mark.parametrize(
    ("text", "options", "match"),
    [
        ("", {}, "data.csv is empty"),
        (" \n\n", {}, "data.csv is empty"),
        ("a,b\n", {"header": True}, "data.csv has a header and no rows"),
        ("a,b\n1,2\n\n3,4,5\n", {}, "line 4: expected 2 cells like most lines, found 3"),
        ("a,b\n1,2\n", {"target": "c"}, "target must be a column .*'c'; .* are 'a', 'b'"),
        ("a,b\n1,2\n", {"target": 2}, "index from -2 to 1 .* not 2; .* 'a', 'b'"),
        ("a,b\n1,2\n", {"target": -3}, "index from -2 to 1 .* not -3"),
        ("ab\n1\n", {}, "single column 'ab', and so no feature .*--delimiter"),
        ('a,b\n1,"2\n', {"delimiter": ","}, r"line 2: a quote \(\"\) is not closed"),
        ("a;b\n1;2\n", {"decimal": ";"}, "decimal must be 'auto', '.' or ',', not ';'"),
        ("a;b\n1;2\n", {"encoding": "x"}, "encoding must be 'auto' or one that .*, not 'x'"),
        ("a,b\n1,2\nx, y,2\n", {}, "line 3: .* found 3 .*; a cell that holds ',' must stand in qu"),
        ("a,b\n1,2.5\n", {"ignore": "c"}, "ignore must be a column of .*, not 'c'"),
        ("a,b\n1,2.5\n", {"ignore": 7}, "ignore must be a column's index from -2 to 1"),
        ("a,b\n1,2.5\n", {"ignore": "b", "target": "b"}, "ignore must not hold the target, 'b'"),
        ("a,b\n1,2.5\n", {"ignore": "b"}, "single column 'a', and so no feature"),
        ("a,b\n1,2.5\n", {"ignore": ["a", "b"]}, "ignore must leave columns"),
        ("a,b\n1,1e300\n2,3.5\n", {}, "'b' holds 1e.300, which is beyond"),
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
        (
            "a,b\n1,2.5\n2,3.5\n3,4.25\n",
            {"train_fraction": 0.1},
            r"train_fraction=0.1 of 3 sample\(s\)",
        ),
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
    with pytest.raises(ValueError, match=r"must be ascii text: byte 0xc3 at position 4 is not$"):
        nd.Table(write("a,b,é\n1,2,3\n"), encoding="ascii")
    with pytest.raises(TypeError, match=r"target must be a column's name or index, not 1.5"):
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
    ],
)
def test_schema_refuses_what_does_not_fit(write, text, match):
    schema = nd.Table(write(MIXED)).schema
    with pytest.raises(ValueError, match=match):
        schema.read(write(text, "other.csv"))


def test_every_row_is_answered(write):
    """Whatever a cell holds: what is missing or unknown has its place."""
    schema = round_trip(nd.Table(write(MIXED), train_fraction=0.5, seed=0).schema)
    fill, shares = schema.columns[1].fill, schema.columns[0].shares
    text = "colour,size,kind\nred,,a\ngreen,2,c\n,many,\nRED,1e99,b\nblue,3 cm,a\n"
    found = schema.encode(schema.read_table(write(text, "other.csv")))
    np.testing.assert_allclose(
        found.x, [[0, 1, fill], [*shares, 2], [*shares, fill], [0, 1, fill], [1, 0, 3]], rtol=1e-6
    )
    np.testing.assert_array_equal(found.t[[0, 3, 4]], [[1, 0], [0, 1], [1, 0]])
    assert np.isnan(found.t[[1, 2]]).all()
    assert found.unknown_labels == {"c": 1}
    assert found.missing == {"colour": 1, "size": 1}
    assert found.remarks == [
        "", "unknown colour 'green'", "unknown size 'many'", "unknown size '1e99'", "",
    ]  # fmt: skip


def test_schema_refuses_an_absent_file(write, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*other.csv"):
        nd.Table(write(MIXED)).schema.read(tmp_path / "other.csv")


def test_schema_without_header_goes_by_position(write):
    schema = nd.Table(write("1,0.5,3\n2,1.5,4\n4,2.5,5\n"), target=1).schema
    for text in ("7,8\n", "a,b\n7,8\n", "7,0.25,8\n", "u,v,w\n7,0.25,8\n"):
        x, t = round_trip(schema).read(write(text, "other.csv"))
        assert x.tolist() == [[7, 8]]
        assert t is None or t.tolist() == [[0.25]]
    x, t = schema.read(write("7,x,8\n", "other.csv"))
    assert (x.tolist(), np.isnan(t).tolist()) == ([[7, 8]], [[True]])


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


# ---------------------------------------------------------------------------- as they are


def rows(*columns, names="", count=20):
    """A text of rows, of which each column is a list of cells that are repeated."""
    lines = [names] if names else []
    for row in range(count):
        lines.append(",".join(str(cells[row % len(cells)]) for cells in columns))
    return "\n".join(lines) + "\n"


A = [f"{value:.2f}" for value in np.random.default_rng(0).normal(size=20)]
Y = ["no", "yes", "yes"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234.5", 1234.5),
        ("12,345,678", 12345678),
        ("1 234.5", 1234.5),
        ("1'234", 1234),
        ("1\u202f234", 1234),
        ("12%", 12),
        ("12.5 %", 12.5),
        ("$1,234.50", 1234.5),
        ("-$5", -5),
        ("$-5", -5),
        ("\u20ac 12", 12),
        ("12 \u20ac", 12),
        ("USD 12", 12),
        ("12 USD", 12),
        ("(1,234)", -1234),
        ("\u22125", -5),
        ("5 kg", 5),
        ("5kg", 5),
        ("3.5 km/h", 3.5),
        ("1.5e3", 1500),
        ("1,5", None),
        ("1,2345", None),
        ("12-15", None),
        ("A12", None),
        ("12a34", None),
        ("1.2.3", None),
        ("", None),
        ("kg", None),
        ("<0.5", 0.5),
        (">= 12", 12),
        ("\u22483.5", 3.5),
        ("<", None),
        ("5<6", None),
    ],
)
def test_numbers_as_people_write_them(text, value):
    assert numerals.Numerals(".")(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("1,5", 1.5), ("1.234,5", 1234.5), ("12", 12), ("1.234", 1234), (",5", 0.5)]
)
def test_numbers_with_a_decimal_comma(text, value):
    assert numerals.Numerals(",")(text) == value


@pytest.mark.parametrize(
    ("cells", "fill"),
    [
        (["1,000", "3,000", "5,500"], 3000),
        (["10%", "20%", "90%"], 20),
        (["$1.50", "$2.50", "$4.00"], 2.5),
        (["1 year", "2 years", "7 years"], 2),
        (["1st", "2nd", "3rd"], 2),
        (["1.5k", "2M", "300"], 1500),
        (["5 kg", "6 kg", "9"], 6),
        (["<0.1", "0.5", "2"], 0.5),
        (['"1,5"', '"2,5"', '"9,75"'], 2.5),
        (['"1.234,5"', '"2.000,0"', '"3.000,1"'], 2000),
    ],
)
def test_columns_of_such_numbers(write, cells, fill):
    text = rows([c if c[0] == '"' else f'"{c}"' for c in cells], A, Y, names="a,b,y", count=60)
    data = nd.Table(write(text), seed=0)
    assert [column.kind for column in data.schema.columns] == ["number", "number"]
    assert data.schema.columns[0].fill == pytest.approx(fill)
    assert data.filled == {}
    x, _ = round_trip(data.schema).read(data.path)
    np.testing.assert_array_equal(x, data.x_data)


@pytest.mark.parametrize(
    "cells",
    [
        ["5 kg", "6 g", "9 lb"],
        ["A1", "B2", "C3"],
        ["1-2", "3-4", "5-9"],
        ["<5", ">5", ">=9"],
        ["1a", "2b", "3c"],
    ],
)
def test_codes_are_no_numbers(write, cells):
    data = nd.Table(write(rows(cells, A, Y, names="a,b,y")))
    assert data.schema.columns[0].categories == tuple(sorted(cells))


DAY = 19783  # 2024-03-01, counted from 1970


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("2024-03-01", DAY),
        ("2024/3/1", DAY),
        ("2024-03-01T12:00:00", DAY + 0.5),
        ("2024-03-01 12:00:00.25Z", DAY + 0.5),
        ("2024-03-01 06:00+01:00", DAY + 0.25),
        ("01-Mar-2024", DAY),
        ("1 March 2024", DAY),
        ("March 1, 2024", DAY),
        ("Mar 1st, 2024", DAY),
        ("Fri, 1 Mar 2024", DAY),
        ("1.3.24", DAY),
        ("01.03.2024 18:00", DAY + 0.75),
        ("3/1/24 6:00 PM", None),
        ("2024-13-01", None),
        ("2024-02-30", None),
        ("12", None),
        ("word", None),
    ],
)
def test_dates_as_people_write_them(text, days):
    found = moments.Moments("day")(text)
    assert (None if found is None else int(found) / 86400) == days or text == "3/1/24 6:00 PM"
    assert moments.Moments("day", True)("3/1/24 6:00 PM") == 86400 * (DAY + 0.75)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2024-03", "month"),
        ("2024M03", "month"),
        ("Mar 2024", "month"),
        ("2024 Q1", "month"),
        ("13:45", "clock"),
        ("1:45 pm", "clock"),
        ("13.45.10", "clock"),
        ("13.45", None),
        ("25:00", None),
        ("2024-2025", None),
    ],
)
def test_months_and_times_of_day(text, form):
    found = moments.understood([text], [1])
    assert (None if found is None else found.form) == form


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        (["13/02/2024", "01/03/2024"], False),
        (["02/13/2024", "03/01/2024"], True),
        (["02/03/2024", "03/01/2024"], True),
        (["02.03.2024", "03.01.2024"], False),
    ],
)
def test_whether_the_month_comes_first_is_told_by_all_dates(cells, first):
    assert moments.understood(cells, [1, 1]).month_first is first


def test_dates_become_a_trend_and_cycles(write):
    days = [f"{year}-{month:02}-{day:02}" for year in (2022, 2023, 2024)
            for month in range(1, 13) for day in (1, 17)]  # fmt: skip
    data = nd.Table(write(rows(days, Y, names="when,y", count=72)))
    assert data.schema.columns[0].parts == ("trend", "year", "week")
    assert data.feature_names == (
        "when", "when, sine of the year", "when, cosine of the year",
        "when, sine of the week", "when, cosine of the week",
    )  # fmt: skip
    np.testing.assert_allclose(data.x_data[:, 1:3].std(axis=0), 0.5**0.5, atol=0.02)
    assert data.x_data[0, 0] == 18993
    monday, sunday = (round_trip(data.schema).read(write(f"when\n{day}\n", "d.csv"))[0][0, 3:]
                      for day in ("2024-03-04", "2024-03-10"))  # fmt: skip
    np.testing.assert_allclose(monday, [0, 1], atol=1e-6)
    np.testing.assert_allclose(sunday, [-np.sin(2 * np.pi / 7), np.cos(2 * np.pi / 7)], atol=1e-6)
    assert data.schema.read(write("when\n\nsoon\n2024-03-04 00:00\n", "d.csv"))[0].shape == (2, 5)


def test_dates_of_digits_and_months(write):
    digits = [f"2024{1 + row % 12:02}{1 + row % 28:02}" for row in range(40)]
    months = [f"{2000 + row // 12}-{1 + row % 12:02}" for row in range(40)]
    data = nd.Table(write(rows(digits, months, Y, names="a,b,y", count=40)))
    assert [column.kind for column in data.schema.columns] == ["date", "date"]
    assert data.schema.columns[1].parts == ("trend", "year")


@pytest.mark.parametrize(
    ("name", "cells", "reason"),
    [
        ("id", [f"P{row:03}" for row in range(20)], "identifier"),
        ("country", [f"land {row}" for row in range(20)], "identifier"),
        ("CustomerID", [7 * row + 3 for row in range(20)], "identifier"),
        ("customer_id", [7 * row + 3 for row in range(20)], "identifier"),
        ("id", list(range(20)), "row number"),
        ("", list(range(1, 21)), "row number"),
        ("RowNumber", list(range(1, 21)), "row number"),
        ("where", ["here"], "constant"),
        ("size", ["7.5"], "constant"),
        ("note", [""], "empty"),
        ("note", ["NA", "?"], "empty"),
        ("year", list(range(1950, 1970)), None),
        ("population", [7 * row + 3 for row in range(20)], None),
        ("paid", [7 * row + 3 for row in range(20)], None),
        ("tick", ["x", ""], None),
        ("store_id", [1, 2, 3], None),
    ],
)
def test_columns_that_tell_nothing_are_left_out(write, name, cells, reason):
    data = nd.Table(write(rows(cells, A, Y, names=f"{name},b,y")))
    found = {out.name or "column 0": out.reason for out in data.schema.left_out}
    assert found == ({} if reason is None else {name or "column 0": reason})
    if reason not in (None, "empty", "constant"):
        forced = nd.Table(data.path, kinds={0: "text"})
        assert forced.schema.left_out == ()
    other = write(rows(cells, A, names=f"{name},b", count=3), "other.csv")
    assert round_trip(data.schema).read(other)[0].shape == (3, *data.shape_in)


def test_what_would_be_left_out_stays_where_nothing_else_is(write):
    data = nd.Table(write(rows(list(range(1, 21)), Y, names="id,y")))
    assert data.feature_names == ("id",)
    with pytest.raises(ValueError, match=r"no feature .* that tells anything: 'a' \(constant\)"):
        nd.Table(write(rows(["x"], Y, names="a,y")))


def test_text_of_many_values_becomes_words(write):
    names = [f"{('Ann', 'Bob', 'Cid')[row % 3]} {row}" for row in range(90)]
    data = nd.Table(write(rows(names, Y, names="who,y", count=90)), seed=0)
    (column,) = data.schema.columns
    assert column.kind == "text"
    assert column.words == ("ann", "bob", "cid")
    assert data.shape_in == (3 + 16,)
    x, _ = round_trip(data.schema).read(write("who\nBob Smith\nNobody\n", "o.csv"))
    assert x[:, :3].tolist() == [[0, 1, 0], [0, 0, 0]]
    assert x[1, 3:].sum() == 1
    few = nd.Table(data.path, max_categories=90, kinds={"who": "category"})
    assert len(few.schema.columns[0].categories) == few.num_train_data


def test_the_limit_of_categories_is_an_option(write):
    path = write(rows([f"S{i:02}" for i in range(33)], A, Y, names="s,a,y", count=120))
    assert nd.Table(path).schema.columns[0].kind == "category"
    assert nd.Table(path, max_categories=32).schema.columns[0].kind == "text"


def test_missing_values_that_are_some_say_so(write):
    path = write(rows([*A[:7], ""], ["a", "b", "?", "c"], Y, names="n,k,y", count=40))
    data = nd.Table(path, seed=0)
    assert data.feature_names == ("n", "n is missing", "k=a", "k=b", "k=c", "k is missing")
    gone = np.arange(40) % 8 == 7
    np.testing.assert_array_equal(data.x_data[:, 1], gone)
    np.testing.assert_array_equal(data.x_data[:, 5], np.arange(40) % 4 == 2)
    assert data.filled == {"n": 5, "k": 10}


def test_what_counts_as_missing_can_be_said(write):
    path = write(rows(["EU", "NA", "AS"], A, Y, names="continent,a,y"))
    assert nd.Table(path, seed=0).schema.columns[0].categories == ("AS", "EU")
    data = nd.Table(path, missing=[], seed=0)
    assert data.schema.columns[0].categories == ("AS", "EU", "NA")
    found = round_trip(data.schema).read(write("continent,a\nNA,1\n", "o.csv"))[0]
    assert found[0, :3].tolist() == [0, 0, 1]
    nines = write(rows([1, 2, -999], A, Y, names="k,a,y"))
    assert nd.Table(nines, missing="-999", seed=0).filled == {"k": 6}


def test_numbers_far_from_all_others_count_as_nearer_ones(write):
    cells = [*range(1990, 2030), 0, -9999]
    data = nd.Table(write(rows(cells, A, Y, names="x,a,y", count=210)), seed=0)
    low, high = data.schema.columns[0].limits
    assert 1700 < low < 1850 < 2150 < high < 2300
    assert data.x_data[:, 0].min() == np.float32(low)
    x, _ = round_trip(data.schema).read(write("x,a\n7,0\n1e30,0\n2000,0\n", "o.csv"))
    np.testing.assert_allclose(x[:, 0], [low, high, 2000], rtol=1e-6)


def test_parameters_come_of_the_rows_that_train(write):
    path = write(rows(list(range(100)), A, Y, names="x,a,y", count=100))
    data = nd.Table(path, seed=0)
    assert data.schema.columns[0].fill == np.median(data.x_train_data[:, 0])
    np.testing.assert_allclose(data.norm.offset, data.x_train_data.mean(axis=0), rtol=1e-5)


def test_what_is_ignored_decides_nothing(write):
    path = write("zip;a;y\n27217.0;1,5;yes\n27218.0;2,5;no\n27219.0;0,5;yes\n27220.0;3,5;no\n")
    data = nd.Table(path, ignore="zip")
    assert data.x_data[:, 0].tolist() == [1.5, 2.5, 0.5, 3.5]


def test_targets_as_people_write_them(write):
    for cells, first in ((["$1,250.5", "$2,000", "$3.5"], 1250.5), (["12%", "7.5%"], 12)):
        data = nd.Table(write(rows(A, [f'"{cell}"' for cell in cells], names="a,y")))
        assert (data.task, data.y_data[0, 0]) == ("regression", first)
        assert data.schema.read(data.path)[1][0, 0] == first
    ticks = nd.Table(write(rows(A, ["x", ""], names="a,y")))
    assert ticks.class_names == ("", "x")
    assert ticks.schema.read(ticks.path)[1].tolist() == ticks.y_data.tolist()


def test_a_target_of_whole_numbers_names_the_other_task(write):
    (note,) = nd.Table(write(rows(A, [3, 4, 5], names="a,y"))).notes
    assert "3 whole numbers are taken as classes (--task regression" in note
    (note,) = nd.Table(write(rows(A, list(range(15)), names="a,y"))).notes
    assert "15 whole numbers are taken as amounts (--task classification" in note


# ---------------------------------------------------------------------------- texts


PLAIN = rows(A, [1, 2, 3], Y, names="a,b,y")


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda text: "# measured\n# by me\n" + text, "2 comment line(s) skipped"),
        (lambda text: "% measured\n\n" + text, "1 comment line(s) skipped"),
        (lambda text: "sep=;\n" + text.replace(",", ";"), None),
        (lambda text: "My flowers\nof 2024\n" + text, "2 line(s) above the table skipped"),
        (lambda text: "My flowers, 2024\n" + text, "1 line(s) above the table skipped"),
        (lambda text: text + "\nSource: the garden\n", "1 line(s) below the table skipped"),
        (lambda text: text.replace("\n", ",\n"), None),
        (lambda text: text.replace("\n", ",,\n"), None),
        (lambda text: text + ",,\n,,\n", None),
        (lambda text: text.replace(",", " ").replace("\n", "  \n"), None),
        (lambda text: text.replace(",", "   "), None),
        (lambda text: text.replace(",", " \t "), None),
        (lambda text: text.replace("\n", "\r\n"), None),
        (lambda text: text.replace("no", "'no'").replace("yes", "'yes'"), None),
        (lambda text: "a (cm),b,y\n" + text.partition("\n")[2], None),
        (lambda text: "a,b,y\ncm,kg,kind\n" + text.partition("\n")[2], "2 lines hold the names"),
        (lambda text: "#" + text, None),
        (lambda text: "\ufeff" + text, None),
        (lambda text: text.replace("no", '"n"o'), None),
    ],
)
def test_texts_as_they_are(write, change, note):
    plain = nd.Table(write(PLAIN), seed=0)
    data = nd.Table(write(change(PLAIN), "other.csv"), seed=0)
    np.testing.assert_array_equal(data.x_data, plain.x_data)
    np.testing.assert_array_equal(data.y_data, plain.y_data)
    assert data.has_header
    assert data.class_names == ("no", "yes")
    assert list(data.notes) == ([] if note is None else [note])
    np.testing.assert_array_equal(data.schema.read(data.path)[0], plain.x_data)


def test_columns_that_stand_below_each_other_may_hold_blanks(write):
    text = (
        "city           size  kind\n"
        "New York          8  large\n"
        "Rome                 middling\n"
        "San Jose          1  small\n"
    )
    table = nd.read_table(write(text))
    assert table.columns == ("city", "size", "kind")
    assert table.rows == [["New York", "8", "large"], ["Rome", "", "middling"],
                          ["San Jose", "1", "small"]]  # fmt: skip


def test_names_of_rows_as_r_writes_them(write):
    text = '"a","y"\n' + "".join(f'"{row}",{cell},"x{row % 2}"\n' for row, cell in enumerate(A))
    data = nd.Table(write(text))
    assert data.feature_names == ("a",)
    assert data.schema.left_out[0].reason == "row number"


def test_lines_that_end_early_are_filled(write):
    data = nd.Table(write(PLAIN + "0.5\n0.25,3\n"))
    assert len(data.x_data) == 20
    assert "2 line(s) end early: the cells that are not there count as missing" in data.notes


def test_names_on_two_lines(write):
    text = "id,Which do you like?,,,Sex\n,tea,coffee,neither,Response\n" + rows(
        list(range(900, 920)), ["tea", ""], ["coffee", "", ""], ["", "", "", "neither"], Y
    )
    data = nd.Table(write(text), "Sex", seed=0)
    assert data.schema.target == "Sex: Response"
    assert [column.name for column in data.schema.columns] == [
        "Which do you like?: tea", "Which do you like?: coffee", "Which do you like?: neither",
    ]  # fmt: skip
    assert data.schema.read(data.path)[0].shape == (20, 6)


@pytest.mark.parametrize("second", ["1.062,87 €;-0,436;nein", "1 kg;0,5;ja", "12 %;1,5;ja"])
def test_numbers_as_people_write_them_are_no_second_line_of_names(write, second):
    below = "".join(f"{row + 2},5;-0,{row};ja\n" for row in range(9))
    path = write(f"Preis;Höhe;Ergebnis\n{second}\n{below}")
    table = nd.read_table(path)
    assert table.columns == ("Preis", "Höhe", "Ergebnis")
    assert table.rows[0] == second.split(";")


@pytest.mark.parametrize("rule", ["|---|:---:|---|", "|-----|-----|----|", "| === | === | === |"])
def test_a_line_that_is_drawn_below_the_names_is_no_row(write, rule):
    rows = "".join(f"| {row / 4} | {row * row} | {'pq'[row % 2]} |\n" for row in range(9))
    data = nd.Table(write(f"| a | b | y |\n{rule}\n{rows}"), "y", seed=0)
    assert data.schema.feature_names == ("a", "b")
    assert len(data.x_data) == 9
    assert not data.filled


def test_names_that_come_twice_get_a_number(write):
    data = nd.Table(write(rows(A, [1, 2], A[::-1], Y, names="a,b,a,y")))
    assert data.feature_names == ("a", "b", "a.1")
    assert data.notes == ("columns of one name have numbers behind it: 'a'",)


@pytest.mark.parametrize(
    ("text", "target", "has_header"),
    [
        ("edible,shape\nedible,round\npoisonous,flat\nedible,flat\nedible,round\n", "edible", True),
        ("edible,shape\nedible,round\npoisonous,flat\nedible,flat\nedible,round\n", None, False),
        (rows(A, A[::-1], A, names="2001,2002,2003"), None, True),
        (rows([2004, 2009], [2011, 2003], A, names="2001,2002,2003"), None, False),
        (rows(["x", "y"], A, A, names="land,1990,2000"), None, True),
    ],
)
def test_whether_the_first_line_holds_names(write, text, target, has_header):
    assert nd.Table(write(text), target).has_header is has_header


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "cp1252", "latin-1"])
def test_encodings_are_found_out(write, encoding):
    data = nd.Table(write(rows(["süß", "herb"], A, Y, names="Geschmack,a,y"), encoding=encoding))
    assert data.schema.columns[0].categories == ("herb", "süß")
    assert data.schema.read(data.path)[0].tolist() == data.x_data.tolist()


# ---------------------------------------------------------------------------- other files


def packed(kind, text):
    data = text.encode()
    if kind == "zip":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("inner/data.csv", data)
            archive.writestr("__MACOSX/._data.csv", b"x")
        return file.getvalue()
    return {"gz": gzip.compress, "bz2": bz2.compress}[kind](data)


@pytest.mark.parametrize("kind", ["gz", "bz2", "zip"])
def test_packed_texts(tmp_path, write, kind, monkeypatch):
    path = tmp_path / f"data.csv.{kind}"
    path.write_bytes(packed(kind, PLAIN))
    plain = nd.Table(write(PLAIN))
    assert nd.Table(path).x_data.tolist() == plain.x_data.tolist()
    monkeypatch.setattr(formats, "FREE", 100)
    monkeypatch.setattr(formats, "MOST_TIMES", 0.1)
    with pytest.raises(ValueError, match="would become more than"):
        nd.Table(path)
    monkeypatch.undo()
    path.write_bytes(packed(kind, PLAIN)[:-30])
    with pytest.raises(ValueError, match=r"data\.csv\.\w+ (is damaged|cannot be unpacked)"):
        nd.Table(path)


def test_records_of_json_and_of_sqlite(tmp_path, write):
    plain = nd.Table(write(PLAIN))
    names, *lines = [line.split(",") for line in PLAIN.split()]
    records = [dict(zip(names, (float(a), int(b), y), strict=True)) for a, b, y in lines]
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, records)))
    (tmp_path / "list.json").write_text(json.dumps(records))
    with sqlite3.connect(tmp_path / "data.db") as connection:
        connection.execute("create table flowers (a real, b integer, y text)")
        connection.executemany("insert into flowers values (:a, :b, :y)", records)
    connection.close()
    for name in ("lines.jsonl", "list.json", "data.db"):
        data = nd.Table(tmp_path / name)
        np.testing.assert_array_equal(data.x_data, plain.x_data)
        assert data.class_names == plain.class_names
    del records[3]["a"]
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert nd.Table(tmp_path / "lines.jsonl").filled == {"a": 1}
    (tmp_path / "lines.jsonl").write_text("{1")
    with pytest.raises(ValueError, match="cannot be read as JSON"):
        nd.Table(tmp_path / "lines.jsonl")


MIXED_FRAME = {
    "number": [1.5, None, 2.5, 4.0] * 5,
    "whole": [1, 2, 3, 4] * 5,
    "flag": [True, False, False, True] * 5,
    "word": ["a", "b", None, "b"] * 5,
    "y": ["no", "yes", "yes", "no"] * 5,
}


def test_frames_of_pandas_polars_and_pyarrow(tmp_path, write):
    text = "number,whole,flag,word,y\n" + "".join(
        ",".join("" if cell is None else str(cell) for cell in row) + "\n"
        for row in zip(*MIXED_FRAME.values(), strict=True)
    )
    plain = nd.Table(write(text), seed=0)
    assert [column.kind for column in plain.schema.columns] == ["number"] * 2 + ["category"] * 2
    tried = 0
    for library, make in (("pandas", "DataFrame"), ("polars", "DataFrame"), ("pyarrow", "table")):
        if library not in sys.modules and not _is_there(library):
            continue
        tried += 1
        frame = getattr(__import__(library), make)(MIXED_FRAME)
        data = nd.Table(frame, "y", seed=0)
        assert data.feature_names == plain.feature_names
        np.testing.assert_array_equal(data.x_data, plain.x_data)
        np.testing.assert_array_equal(plain.schema.read(frame)[0], plain.x_data)
        np.testing.assert_array_equal(data.schema.read(plain.path)[0], plain.x_data)
        if library == "pandas":
            frame["when"] = (
                frame["whole"].map(lambda day: f"2024-03-{day:02}").astype("datetime64[ns]")
            )
            assert nd.Table(frame, "y").schema.columns[-1].kind == "date"
            frame["word"] = frame["word"].astype("category")
            assert nd.Table(frame, "y").schema.columns[3].categories == ("a", "b")
    if not tried:
        pytest.skip("no library of frames is installed")


def _is_there(library):
    from importlib.util import find_spec

    return find_spec(library) is not None


def test_files_that_another_library_reads(tmp_path, write):
    plain = nd.Table(write(PLAIN), seed=0)
    columns = {
        "a": [float(cell) for cell in A],
        "b": [1 + row % 3 for row in range(20)],
        "y": [Y[row % 3] for row in range(20)],
    }
    if not (_is_there("pyarrow") and _is_there("openpyxl")):
        pytest.skip("pyarrow or openpyxl is not installed")
    import openpyxl
    import pyarrow
    from pyarrow import feather, parquet

    parquet.write_table(pyarrow.table(columns), tmp_path / "data.parquet")
    feather.write_feather(pyarrow.table(columns), str(tmp_path / "data.feather"))
    book = openpyxl.Workbook()
    book.active.append(["My flowers"])
    for row in [list(columns), *zip(*columns.values(), strict=True)]:
        book.active.append(row)
    book.save(tmp_path / "data.xlsx")
    for name in ("data.parquet", "data.feather", "data.xlsx"):
        np.testing.assert_array_equal(nd.Table(tmp_path / name, seed=0).x_data, plain.x_data)


def test_categories_and_durations_of_pandas_in_parquet(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    spans = [90.0, 3600.5, None, *range(7)]
    frame = pandas.DataFrame(
        {
            "colour": pandas.Categorical(["red", "blue"] * 5),
            "took": pandas.to_timedelta(spans, unit="s"),
            "y": ["p", "q", "q", "p", "q"] * 2,
        }
    )
    frame.to_parquet(tmp_path / "data.parquet")
    for source in (tmp_path / "data.parquet", frame):
        data = nd.Table(source, seed=0)
        kinds = {column.name: column.kind for column in data.schema.columns}
        assert kinds == {"colour": "category", "took": "number"}
        took = data.x_data[:, data.feature_names.index("took")]
        np.testing.assert_allclose(took[[0, 4, 9]], [90.0, 1.0, 6.0])
        assert data.filled == {"took": 1}


COLUMNS_OF_JSON = {"a": [0.5, 1.5, 2.5, 4.0], "b": [3, 1, 7, 2], "y": ["p", "q", "q", "p"]}
RECORDS_OF_JSON = [dict(zip(COLUMNS_OF_JSON, row)) for row in zip(*COLUMNS_OF_JSON.values())]  # noqa: B905


@pytest.mark.parametrize(
    "given",
    [
        COLUMNS_OF_JSON,
        {name: {str(i): v for i, v in enumerate(each)} for name, each in COLUMNS_OF_JSON.items()},
        {"made by": "somebody", "data": RECORDS_OF_JSON},
        [{"a": r["a"], "": {"b": r["b"]}, "y": r["y"]} for r in RECORDS_OF_JSON],
    ],
    ids=["columns", "columns of rows", "records within", "records of records"],
)
def test_json_as_it_is_found(tmp_path, given):
    (tmp_path / "data.json").write_text(json.dumps(given))
    data = nd.Table(tmp_path / "data.json", seed=0)
    expected = np.transpose([COLUMNS_OF_JSON["a"], COLUMNS_OF_JSON["b"]])
    np.testing.assert_allclose(data.x_data, expected)
    assert data.class_names == ("p", "q")


@pytest.mark.parametrize(
    ("start", "what"), [(b"\x80\x04\x95", "a pickle"), (b"\x80\x05", "a pickle"),
                        (b"\x89HDF\r\n", "an HDF5 file")]
)  # fmt: skip
def test_files_that_are_no_table_are_named(tmp_path, start, what):
    (tmp_path / "data.bin").write_bytes(start + b"\0" * 50)
    with pytest.raises(ValueError, match=f"data.bin is {what}, .* save it as Parquet or CSV"):
        nd.Table(tmp_path / "data.bin")


def test_a_table_beside_a_text_in_a_zip_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("README.txt", "what it is")
        archive.writestr("data/flowers.csv", FLOWERS)
    assert nd.Table(tmp_path / "data.zip").feature_names == ("length", "width")


@pytest.mark.parametrize(
    ("start", "module", "package"),
    [(b"PAR1", "pyarrow.parquet", "pyarrow"), (b"ARROW1", "pyarrow.feather", "pyarrow"),
     (b"PK\x03\x04 xl/workbook.xml", "openpyxl", "openpyxl")],
)  # fmt: skip
def test_a_reader_that_is_missing_is_named(tmp_path, monkeypatch, start, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "data").write_bytes(start)
    command = rf"pip install 'npnn-xp\[table\]', or pip install {package}$"
    with pytest.raises(MissingError, match=command):
        nd.Table(tmp_path / "data")


def test_large_texts_are_read_alike_with_and_without_pyarrow(write, monkeypatch):
    pytest.importorskip("pyarrow")
    columns = (
        [*A, "", "NA"], [1, 2, 3, "?"], ["x", "y y", '"a, b"', "", "-"],
        ["2024-01-05", "2024-02-07"],
        [*A[:7], "n/a", "many"], ["TRUE", "FALSE"], Y,
    )  # fmt: skip
    text = "# by me\n" + rows(*columns, names="a,b,c,d,e,f,y", count=300)
    small = nd.Table(write(text), seed=0)
    monkeypatch.setattr(big, "LARGE", 1000)
    monkeypatch.setattr(big, "HEAD", 3000)
    monkeypatch.setattr(big, "FEW", 3)
    large = nd.Table(small.path, seed=0)
    assert large.feature_names == tuple(
        name.replace("TRUE", "True").replace("FALSE", "False") for name in small.feature_names
    )
    np.testing.assert_array_equal(large.x_data, small.x_data)
    np.testing.assert_array_equal(large.y_data, small.y_data)
    assert nd.read_table(small.path).lines == range(3, 303)
    np.testing.assert_array_equal(large.schema.read(small.path)[0], small.x_data)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    without = nd.Table(small.path, seed=0)
    np.testing.assert_array_equal(without.x_data, small.x_data)


@pytest.mark.parametrize("more", ["0.5\n", "1,2,3,4,5\n", "\n\n", "é,1,no\n"])
def test_large_texts_that_pyarrow_does_not_read_are_read_as_small_ones(write, monkeypatch, more):
    pytest.importorskip("pyarrow")
    path = write(rows(A, [1, 2, 3], Y, names="a,b,y", count=300) + more, encoding="cp1252")
    found = []
    for size in (1 << 30, 1000):
        monkeypatch.setattr(big, "LARGE", size)
        monkeypatch.setattr(big, "HEAD", 2000)
        try:
            found.append(nd.Table(path, seed=0).x_data.tolist())
        except ValueError as error:
            found.append(str(error))
    assert found[0] == found[1]


def test_standard_input_is_read_once_and_whole(monkeypatch, write):
    text = rows(A * 50, [1, 2, 3], Y, names="a,b,y", count=900)  # more than a pipe's first bytes
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    data = nd.Table("-")
    assert data.x_data.tolist() == nd.Table(write(text)).x_data.tolist()


def test_wrong_options_of_tables(write):
    path = write(PLAIN)
    with pytest.raises(ValueError, match=r"kinds must be some of .*, not 'word' for column 'a'"):
        nd.Table(path, kinds={"a": "word"})
    with pytest.raises(TypeError, match="kinds must be a dict"):
        nd.Table(path, kinds=["a"])
    with pytest.raises(ValueError, match="kinds must be a column of"):
        nd.Table(path, kinds={"nothing": "text"})
    with pytest.raises(ValueError, match="the column 'a' holds no dates"):
        nd.Table(write(rows(["x", "y"], Y, names="a,y")), kinds={"a": "date"})
    with pytest.raises(ValueError, match="the column 'a' holds no numbers"):
        nd.Table(write(rows(["x", "y"], Y, names="a,y")), kinds={"a": "number"})
    with pytest.raises(TypeError, match="missing must be words"):
        nd.Table(path, missing=[1])


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"}, {"kind": None}, {"name": None, "more": 1}, {"fill": "x"}, {"fill": None},
        {"fill": float("nan")},
        {"limits": [1]},
        {"limits": ["a", 2]}, {"decimal": ";"},
    ],
)  # fmt: skip
def test_damaged_columns(write, change):
    config = nd.Table(write(PLAIN)).schema.to_config()
    config["columns"][0] = {**config["columns"][0], **change}
    with pytest.raises(ValueError, match="config is not that of a table's schema"):
        nd.TableSchema.from_config(config)


# Frames -------------------------------------------------------------------------------------------


def test_a_column_of_a_frame_is_told_by_what_is_its_name_there():
    pandas = pytest.importorskip("pandas")
    values = np.random.default_rng(0).normal(size=(30, 3))
    for names in ([2, 1, 0], [2019, 2020, 2021], [("a", 1), ("a", 2), ("b", 1)]):
        frame = pandas.DataFrame(values, columns=pandas.Index(names, tupleize_cols=False))
        for place, name in enumerate(names):
            data = nd.Table(frame, name)
            assert data.schema.target == str(name)
            others = [other for other in names if other != name]
            assert data.feature_names == tuple(map(str, others))
            data = nd.Table(frame, name, ignore=[others[0]], kinds={others[1]: "category"})
            assert data.schema.target_position == place
            assert [column.kind for column in data.schema.columns] == ["category"]
    with pytest.raises(TypeError, match=r"a column's name or index, not 1\.5"):
        nd.Table(frame, 1.5)


def test_cells_that_are_lists_are_text():
    pandas = pytest.importorskip("pandas")
    cells = [[1, 2], [3]] * 15
    data = nd.Table(pandas.DataFrame({"a": cells, "t": np.arange(30.0)}), "t")
    assert data.feature_names == ("a=[1, 2]", "a=[3]")


@pytest.mark.parametrize("missing", [False, True])
def test_categories_of_polars_are_text(missing):
    polars = pytest.importorskip("polars")
    words = ["u", "v", None if missing else "w"] * 10
    for kind in (polars.Categorical, polars.Enum(["v", "u", "w"])):
        frame = polars.DataFrame({"a": polars.Series(words).cast(kind), "t": np.arange(30.0)})
        names = nd.Table(frame, "t").feature_names
        assert set(names) >= {"a=u", "a=v"}
        assert ("a=w" in names) is not missing


def test_what_is_neither_file_nor_frame_is_told():
    for given in ({"a": [1.0]}, np.zeros((3, 2)), [[1.0, 2.0]]):
        with pytest.raises(TypeError, match=r"path of a file, .*; or a frame, such as pandas"):
            nd.Table(given)
    polars = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"a LazyFrame holds no data yet: give x\.collect"):
        nd.Table(polars.DataFrame({"a": [1.0]}).lazy())
