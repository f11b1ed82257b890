"""Models of tables as files for where npnn is not: they take raw cells, and answer the same."""

import csv
import datetime
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import npnn
import npnn.numpy_file
import npnn.onnx
from npnn.cli import main
from npnn.cli.models import outputs_of
from npnn.datasets import Table, TableSchema
from npnn.datasets.columns import KINDS, encodings
from npnn.layers import Dense, ReLU, Sigmoid, Softmax

WORDS = ["the", "cat", "sat", "on", "a", "mat", "while", "dogs", "ran", "in", "rain", "and", "sun"]


def cells(rng, number, text):
    """Return a row of raw cells of every kind; the last three are targets."""
    when = datetime.datetime(2023, 1, 1) + datetime.timedelta(hours=int(rng.integers(20_000)))
    row = {
        "size, cm": f"{rng.normal(5):.3f}",
        "label": f"${rng.integers(1, 9)},{rng.integers(100, 1000)}.50",  # the name of an output
        "stamp": f"{1_700_000_000 + rng.integers(10_000)}.25",
        "latitude": f"{47.5 + 0.01 * rng.normal():.5f}",
        "x": rng.choice(["Ärger", "red", "Straße", "dark blue"]),
        "a0": rng.choice(["+", "-", "0"]),
        "Day": when.strftime("%d.%m.%Y %H:%M"),
        "time": when.strftime("%H:%M"),
        "ok": rng.choice(["True", "False"]),
        "same": "1",
    }
    if text:
        row["notes"] = " ".join(rng.choice(WORDS, 5)) + f" n{number}."
    gone = {"size, cm": "", "label": "n/a", "x": "NA", "Day": "", "time": "?", "stamp": "nan"}
    row |= {name: word for name, word in gone.items() if rng.random() < 0.1}
    kind, price = ["one", "two", "three"][number % 3], round(1e5 + 1e4 * rng.normal(), 2)
    return {**row, "kind": kind, "sold": ["no", "yes"][number % 2], "price": str(price)}


def written(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def trained(folder, target, text):
    """Return a model of a table, and rows that are new to it: with unknown values in odd places."""
    rng = np.random.default_rng(0)
    rows = [cells(rng, number, text) for number in range(160)]
    others = [name for name in ("kind", "sold", "price") if name != target]
    table = Table(written(folder / "train.csv", rows), target, ignore=others, seed=0)
    ends = {"kind": [Dense(8, 3), Softmax()], "sold": [Dense(8, 1), Sigmoid()]}
    if target == "sold":
        table = Table(folder / "train.csv", target, ignore=others, seed=0, task="binary")
    model = npnn.Sequential(
        [Dense(table.shape_in, 8), ReLU(), *ends.get(target, [Dense(8, 1)])], seed=1
    )
    model.fit(table, epochs=2)
    new = [cells(rng, number, text) for number in range(60)]
    odd = {"x": "RED", "a0": "other", "size, cm": "1e30", "Day": "never", "label": "much"}
    for number, (name, value) in enumerate(odd.items()):
        new[number][name] = value
    new[6]["x"], new[7]["x"], new[8]["x"], new[9]["size, cm"] = "ärger", "green", "--", "1e300"
    return model, new


def expected_of(model, path):
    schema = TableSchema.from_config(model.details["schema"])
    return outputs_of(model, schema.encode(schema.read_table(path)).x)


@pytest.mark.parametrize("target", ["kind", "sold", "price"])
def test_a_file_for_numpy_takes_raw_cells_however_they_are_given(target, tmp_path):
    pandas = pytest.importorskip("pandas")
    model, new = trained(tmp_path, target, text=True)
    path = written(tmp_path / "new.csv", new)
    expected = expected_of(model, path)
    scale = np.abs(expected).max()
    npnn.numpy_file.export(model, tmp_path / "model.py")
    names = {"__name__": "model"}
    exec((tmp_path / "model.py").read_text(encoding="utf-8"), names)
    frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
    given = {
        "a path": path,
        "dicts": new,
        "a frame": frame,
        "columns": {name: [row[name] for row in new] for name in new[0]},
        "lists": [list(row.values()) for row in new],
        "lists of inputs": [[row[name] for name in names["INPUTS"]] for row in new],
    }
    for how, rows in given.items():
        y = names["predict"](rows)
        np.testing.assert_allclose(y / scale, expected / scale, rtol=0, atol=1e-6, err_msg=how)
    np.testing.assert_allclose(names["predict"](new[0]), expected[:1], rtol=1e-6)
    assert "same" not in names["INPUTS"]
    one = {**new[0], "x": " red ", "size, cm": None, "stamp": 1_700_000_001.25, "ok": True}
    text = {**new[0], "x": "red", "size, cm": "", "stamp": "1700000001.25", "ok": "True"}
    np.testing.assert_array_equal(names["predict"](one), names["predict"]([text]))


@pytest.mark.parametrize("target", ["kind", "sold", "price"])
def test_the_file_prints_what_the_command_does_where_npnn_is_not(target, tmp_path, capsys):
    model, new = trained(tmp_path, target, text=True)
    model.save(tmp_path / "m.safetensors")
    path = written(tmp_path / "new.csv", [{**row, target: ""} for row in new])
    assert main(["export", "--numpy", str(tmp_path / "m.safetensors"), str(tmp_path / "m.py")]) == 0
    assert "'size, cm'" in capsys.readouterr().out
    code = "import sys, runpy; sys.modules['npnn'] = None; runpy.run_path('m.py', {}, '__main__')"
    found = subprocess.run(
        [sys.executable, "-c", code, path], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert main(["predict", str(tmp_path / "m.safetensors"), str(path)]) == 0
    actual, expected = (list(csv.reader(io.StringIO(s))) for s in
                        (found.stdout, capsys.readouterr().out))  # fmt: skip
    assert len(actual) == len(expected) == 60
    for one, other in zip(actual, expected, strict=True):
        assert one[:-1] == other[: len(one) - 1]
        assert float(one[-1]) == pytest.approx(float(other[len(one) - 1]), rel=1e-6, abs=1e-6)


def session_of(model, **options):
    runtime = pytest.importorskip("onnxruntime")
    file = io.BytesIO()
    npnn.onnx.export(model, file, **options)
    return runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])


def fed(session, model, path):
    """Return what a person gives the inputs: text as it is, and numbers and seconds as floats."""
    schema = TableSchema.from_config(model.details["schema"])
    table = schema.read_table(path)
    kinds = {"tensor(string)": object, "tensor(float)": np.float32, "tensor(double)": np.float64}
    feed = {}
    for column, each in zip(schema.columns, session.get_inputs(), strict=True):
        assert (each.name, each.shape[1]) == (column.name, 1)
        own = table.cells[table.columns.index(column.name)]
        of_text = column.kind == "category"
        assert (each.type == "tensor(string)") == of_text
        values = own.texts if of_text else column.encoding.read(own)
        feed[column.name] = np.asarray(values, kinds[each.type])[:, None]
    return feed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", ["kind", "sold", "price"])
def test_an_onnx_file_has_an_input_for_each_column(target, dtype, tmp_path):
    model, new = trained(tmp_path, target, text=False)
    path = written(tmp_path / "new.csv", new)
    expected = expected_of(model, path)
    session = session_of(model, dtype=dtype)
    types = {each.name: each.type for each in session.get_inputs()}
    assert types["Day"] == types["stamp"] == types["time"] == "tensor(double)"
    assert types["size, cm"] == ("tensor(float)" if dtype == "float32" else "tensor(double)")
    found = session.run(None, fed(session, model, path))
    if target == "price":
        np.testing.assert_allclose(found[0], expected, rtol=1e-5)
        return
    label, shares = (each.name for each in session.get_outputs())
    assert (label, shares) == ("label_", "probabilities")  # a column is called label
    expected = np.hstack([1 - expected, expected]) if expected.shape[1] == 1 else expected
    np.testing.assert_allclose(found[1], expected, atol=1e-5)
    names = model.details["schema"]["class_names"]
    assert found[0].tolist() == [names[i] for i in expected.argmax(axis=1)]


def test_each_input_says_what_it_takes(tmp_path):
    pytest.importorskip("onnx")
    model, _ = trained(tmp_path, "kind", text=False)
    said = {each.name: each.doc_string for each in npnn.onnx.exported(model).graph.input}
    assert (
        said["Day"] == "a date or time, as seconds since 1970-01-01 00:00; NaN where it is missing"
    )
    assert "since midnight" in said["time"]
    assert said["size, cm"].startswith("a number")
    assert "empty where it is missing" in said["x"]


def test_words_are_refused_by_onnx_and_features_are_taken_where_asked_for(tmp_path, capsys):
    pytest.importorskip("onnx")
    model, new = trained(tmp_path, "kind", text=True)
    old = tmp_path / "old.onnx"
    old.write_text("old")
    with pytest.raises(ValueError, match=r"'notes' is text.* write a file for NumPy"):
        npnn.onnx.export(model, old)
    assert old.read_text() == "old"
    model.save(tmp_path / "m.safetensors")
    assert main(["export", str(tmp_path / "m.safetensors"), str(old)]) == 2
    assert "'notes' is text" in capsys.readouterr().err
    schema = TableSchema.from_config(model.details["schema"])
    x = schema.encode(schema.read_table(written(tmp_path / "new.csv", new))).x
    session = session_of(model, inputs="features")
    (y,) = session.run(["y"], {"x": x.astype(np.float32)})
    assert y.shape == (60, 3)
    names = {"__name__": "model"}
    exec(npnn.numpy_file.exported(model, inputs="features"), names)
    np.testing.assert_allclose(names["predict"](x), outputs_of(model, x), atol=1e-6)
    with pytest.raises(ValueError, match="inputs must be one of columns, features"):
        npnn.numpy_file.exported(model, inputs="cells")


def test_a_file_says_which_columns_it_misses(tmp_path):
    model, new = trained(tmp_path, "kind", text=True)
    names = {"__name__": "model"}
    exec(npnn.numpy_file.exported(model), names)
    with pytest.raises(ValueError, match=r"lacks the feature column\(s\) 'time'"):
        names["predict"]([{k: v for k, v in row.items() if k != "time"} for row in new])
    with pytest.raises(ValueError, match="the table must have 13 columns"):
        names["predict"]([["1", "2"]])
    with pytest.raises(ValueError, match="expected rows of 14 cells"):
        names["predict"]([list(new[0].values()), [1]])
    assert names["predict"]([]).shape == (0, 3)


def test_each_kind_of_column_is_known_to_both():
    from npnn import numpy_columns, onnx_columns

    kinds = {kind for kind in vars(encodings).values() if "missing" in getattr(kind, "_fields", ())}
    kinds -= {encodings.Encoded}
    assert len(kinds) == 3
    assert len(KINDS) == 4
    for kind in kinds:
        assert kind in numpy_columns.KNOWN
        assert kind in onnx_columns.written.registry


def test_what_a_row_becomes_does_not_depend_on_the_others(tmp_path):
    model, new = trained(tmp_path, "kind", text=False)
    schema = TableSchema.from_config(model.details["schema"])
    whole = schema.encode(schema.read_table(written(tmp_path / "new.csv", new))).x
    for number in (0, 5, 9):
        one = schema.encode(
            schema.read_table(written(tmp_path / "one.csv", new[number : number + 1]))
        )
        np.testing.assert_array_equal(one.x, whole[number : number + 1])


TABLES = os.environ.get("NPNN_TABLES", "")  # a folder of CSV files, for a campaign
PATHS = sorted(Path(TABLES).glob("*.csv")) if TABLES else ["penguins"]
PENGUINS = """island,bill length,bill depth,flipper,mass,sex,species
Torgersen,39.1,18.7,181,3750,MALE,Adelie
Torgersen,39.5,17.4,186,3800,FEMALE,Adelie
Torgersen,,,,,,Adelie
Biscoe,46.1,13.2,211,4500,FEMALE,Gentoo
Biscoe,50,16.3,230,5700,MALE,Gentoo
Dream,46.5,17.9,192,3500,FEMALE,Chinstrap
Dream,50,19.5,196,3900,MALE,Chinstrap
"""


@pytest.mark.parametrize("path", PATHS)
def test_files_of_real_tables_answer_the_same(path, tmp_path):
    if path == "penguins":
        header, *rows = PENGUINS.splitlines(keepends=True)
        path = tmp_path / "penguins.csv"
        path.write_text(header + "".join(3 * rows))
    table = Table(path, seed=0)
    outputs = {"classification": table.shape_out, "binary": 1, "regression": 1}[table.task]
    end = {"classification": [Softmax()], "binary": [Sigmoid()]}.get(table.task, [])
    model = npnn.Sequential([Dense(table.shape_in, 16), ReLU(), Dense(outputs), *end], seed=0)
    model.fit(table, epochs=2)
    y = expected_of(model, path)
    scale = max(1.0, float(np.abs(y).max()))
    names = {"__name__": "model"}
    exec(npnn.numpy_file.exported(model), names)
    np.testing.assert_allclose(names["predict"](path) / scale, y / scale, rtol=0, atol=1e-6)
    if any(column.kind == "text" for column in table.schema.columns):
        return
    session = session_of(model)
    actual = session.run(None, fed(session, model, path))[-1]
    y = np.hstack([1 - y, y]) if table.task == "binary" else y
    np.testing.assert_allclose(actual / scale, y / scale, rtol=0, atol=1e-5)
