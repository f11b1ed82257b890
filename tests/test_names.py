"""What has names: words as targets, the columns of tables, and tables of other libraries."""

import numpy as np
import pytest
from oracles import host_parameters

import npnn
from npnn import datasets as nd

RNG = np.random.default_rng(3)
X = RNG.normal(size=(24, 2)).astype(np.float32)
C = np.arange(24) % 3
NAMES = ["cat", "dog", "owl"]
WORDS = np.array(NAMES)[C]


def classifier(backend="numpy", outputs=3, **options):
    last = npnn.Softmax() if outputs > 1 else npnn.Sigmoid()
    return npnn.Sequential([npnn.Dense(2, outputs), last], backend=backend, seed=1, **options)


class Frame:
    """What a table looks like from outside: named columns, and all of them as an array."""

    def __init__(self, **columns):
        self.data = {name: np.asarray(column) for name, column in columns.items()}

    @property
    def columns(self):
        return list(self.data)

    @property
    def shape(self):
        return len(next(iter(self.data.values()))), len(self.data)

    def __getitem__(self, names):
        if isinstance(names, str):
            return self.data[names]
        return Frame(**{name: self.data[name] for name in names})

    def __array__(self, dtype=None, copy=None):
        return np.stack(list(self.data.values()), axis=1)


def by_frame(kind, columns):
    """Return a frame of a library, or what looks like one."""
    if kind == "any":
        return Frame(**columns)
    if kind == "pyarrow":
        return pytest.importorskip(kind).table(columns)
    return pytest.importorskip(kind).DataFrame(columns)


FRAMES = ["any", "pandas", "polars", "pyarrow"]


@pytest.mark.parametrize("kind", FRAMES)
def test_a_model_that_trained_on_a_dataset_or_a_table_finds_columns_by_name(kind, tmp_path):
    columns = {"a": X[:, 0], "b": X[:, 1]}
    frame, turned = by_frame(kind, columns), by_frame(kind, {"b": X[:, 1], "a": X[:, 0]})
    t = X[:, 0] - X[:, 1]
    given = {
        "arrays": (frame, t),
        "dataset": (nd.Dataset(frame, t, seed=0),),
        "table": (nd.Table(by_frame(kind, {**columns, "t": t}), "t", seed=0),),
    }
    for data in given.values():
        model = npnn.Sequential([npnn.Dense(2, 1)], seed=0)
        model.fit(*data, epochs=1)
        expected = model.predict(X)
        np.testing.assert_allclose(model.predict(turned), expected, rtol=1e-5)
        model.save(tmp_path / "m")
        np.testing.assert_allclose(npnn.load(tmp_path / "m").predict(turned), expected, rtol=1e-5)
        with pytest.raises(ValueError, match="lack"):
            model.predict(by_frame(kind, {"b": X[:, 1], "c": X[:, 0]}))


def test_a_model_of_a_table_makes_its_inputs_of_a_frame(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"animal": WORDS, "a": X[:, 0], "t": X[:, 1]})
    data = nd.Table(frame, "t", seed=0)
    model = npnn.Sequential([npnn.Dense(4, 1)], seed=0)
    model.fit(data, epochs=1)
    expected = model.predict(data.schema.read(frame)[0])
    np.testing.assert_array_equal(model.predict(frame), expected)
    np.testing.assert_array_equal(model.predict(frame[["a", "animal"]]), expected)
    features = pandas.DataFrame(data.schema.read(frame)[0], columns=data.feature_names)
    np.testing.assert_array_equal(model.predict(features[list(data.feature_names)[::-1]]), expected)
    strange = frame.assign(animal="bee", a=None)
    assert np.isfinite(model.predict(strange)).all()


# Words as targets --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", [lambda t: t, lambda t: t.tolist(), lambda t: t[:, None], lambda t: t.astype(object)]
)
def test_words_train_as_their_places_among_the_sorted_ones_do(form, captured_on):
    of_words, of_numbers = classifier(captured_on), classifier(captured_on)
    found = of_words.fit(X, form(WORDS), epochs=2, validation_data=(X[:3], form(WORDS[:3])))
    expected = of_numbers.fit(X, C, epochs=2, validation_data=(X[:3], C[:3]))
    assert dict(found) == {name: pytest.approx(value, 1e-5) for name, value in expected.items()}
    assert of_words.class_names == NAMES
    assert of_words.evaluate(X, form(WORDS)) == pytest.approx(of_numbers.evaluate(X, C), 1e-5)
    optimizer = npnn.Adam()
    optimizer.model = of_words
    optimizer.step(X, form(WORDS))


def test_the_names_of_classes_are_saved_and_name_the_answers(tmp_path):
    model = classifier()
    model.fit(X, WORDS, epochs=1)
    model.save(tmp_path / "m")
    again = npnn.load(tmp_path / "m")
    assert again.evaluate(X, WORDS) == model.evaluate(X, WORDS)
    answers = np.array(again.class_names)[again.predict_class(X)]
    assert set(answers) <= set(NAMES)


def test_two_words_are_no_and_yes_of_one_output():
    of_words, of_numbers = classifier(outputs=1), classifier(outputs=1)
    t = np.where(C > 0, "yes", "no")
    assert of_words.fit(X, t, epochs=1) == of_numbers.fit(X, (C > 0).astype(float), epochs=1)
    assert of_words.class_names == ["no", "yes"]


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda m: m.evaluate(X, WORDS), ValueError, "no class_names yet: fit finds them"),
        (lambda m: m.fit(X, ["a", "b", "c", "d"] * 6), ValueError, "4 classes, .* outputs for 3"),
        (lambda m: m.fit(X, [*WORDS[:-1], None]), TypeError, r"there is a None .* at \(23,\)"),
        (lambda m: m.fit(X, [*WORDS[:-1], 3]), TypeError, "not one of <U"),
        (lambda m: m.fit(X, X.astype(str)), TypeError, "not one of <U"),
        (lambda m: m.fit(X, WORDS, loss=npnn.RMSLoss()), TypeError, "not one of <U3"),
        (
            lambda m: m.fit(X, WORDS, validation_data=(X[:2], ["cat", "bee"])),
            ValueError,
            "targets t: there is a 'bee' at sample 1 .* none of the classes 'cat', 'dog', 'owl'",
        ),
    ],
)
def test_words_that_name_no_class_are_refused_and_nothing_is_changed(use, error, message):
    model = classifier()
    with pytest.raises(error, match=message):
        use(model)
    assert model.class_names is None


@pytest.mark.parametrize("hole", [None, float("nan"), pytest.param("NA", id="pandas.NA")])
def test_a_label_that_is_missing_among_words_is_named(hole):
    hole = pytest.importorskip("pandas").NA if hole == "NA" else hole
    words = WORDS.astype(object)
    words[5] = hole
    message = r"at \(5,\) \(counted from 0\) among words: leave out the samples"
    for use in (lambda: classifier().fit(X, words), lambda: nd.Dataset(X, words)):
        with pytest.raises(TypeError, match=message):
            use()


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c", "d"]])
def test_names_are_as_many_as_the_classes_that_outputs_tell_apart(names):
    model = classifier()
    message = rf"class_names: there are {len(names)} classes, .* and outputs for 3"
    with pytest.raises(ValueError, match=message):
        model.class_names = names
    two = classifier(outputs=1)
    with pytest.raises(ValueError, match="outputs for 2"):
        two.class_names = names[:1]
    later = npnn.Sequential([npnn.Dense(None, 3), npnn.Softmax()])
    later.class_names = names  # its outputs are not known
    with pytest.raises(ValueError, match=message):
        later.fit(X, C)
    with pytest.raises(ValueError, match=r"targets t: there are 2 classes, .* must name all"):
        classifier().fit(X[C < 2], WORDS[C < 2])
    named = classifier()
    named.class_names = NAMES
    named.fit(X[C < 2], WORDS[C < 2], epochs=1)


def test_a_label_that_training_had_not_is_named(backend_name):
    model = classifier(backend_name)
    model.fit(X, WORDS, epochs=1)
    optimizer = npnn.Adam()
    optimizer.model = model
    strange = WORDS.copy()
    strange[5] = "bee"
    for use in (model.evaluate, model.fit, optimizer.step):
        with pytest.raises(ValueError, match="there is a 'bee' at sample 5"):
            use(X, strange)


def test_a_dataset_of_words_is_a_classification():
    data = nd.Dataset(X, WORDS, seed=0)
    assert (data.task, data.class_names) == ("classification", tuple(NAMES))
    np.testing.assert_array_equal(data.c_data, C)
    given = nd.Dataset(X, WORDS, class_names=["owl", "dog", "cat"])
    np.testing.assert_array_equal(given.c_data, 2 - C)
    model = classifier()
    model.fit(data, epochs=1)
    assert model.evaluate(X, WORDS) == pytest.approx(model.evaluate(X, C))
    with pytest.raises(ValueError, match="there is a 'dog' at sample 1"):
        nd.Dataset(X, WORDS, class_names=["owl", "cat", "bee"])


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int32])
def test_a_dataset_takes_the_integer_classes_that_fit_takes(dtype):
    data = nd.Dataset(X, C.astype(dtype), seed=0)
    assert (data.task, data.shape_out) == ("classification", (3,))
    np.testing.assert_array_equal(nd.Dataset(X, C[:, None], seed=0).y_data, data.y_data)
    assert classifier().fit(data, epochs=1).num_epochs == 1
    for t in (C.astype(float), C + 1, 2 * C, np.arange(24)):  # these may be counts of something
        assert nd.Dataset(X, t).task == "regression"


# Columns -----------------------------------------------------------------------------------------


@pytest.mark.later("jax")
def test_columns_are_put_in_the_order_of_training(backend_name, tmp_path):
    model = npnn.Sequential([npnn.Dense(2, 1)], backend=backend_name, seed=1)
    frame = Frame(a=X[:, 0], b=X[:, 1])
    swapped = Frame(b=X[:, 1], a=X[:, 0])
    model.fit(frame, X[:, 0], epochs=1, validation_data=(swapped, X[:, 0]))
    expected = model.backend.to_numpy(model.predict(X))
    model.save(tmp_path / "m")
    again = npnn.load(tmp_path / "m", backend=backend_name)
    assert again.details["columns"] == ["a", "b"]
    for each in (model, again):
        for x in (frame, swapped):
            for size in (None, 5):
                y = each.backend.to_numpy(each.predict(x, batch_size=size))
                np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
        found = each.evaluate(swapped, X[:, 0])["loss"]
        assert found == pytest.approx(each.evaluate(X, X[:, 0])["loss"], rel=1e-5)
    optimizer, other = npnn.Adam(), npnn.Adam()
    optimizer.model, other.model = model, again
    optimizer.step(swapped, X[:, 0])
    other.step(X, X[:, 0])
    for name, array in host_parameters(again).items():
        np.testing.assert_allclose(host_parameters(model)[name], array, rtol=1e-5, atol=1e-6)


def test_columns_that_are_missing_or_too_many_are_named():
    model = npnn.Sequential([npnn.Dense(2, 1)], seed=1)
    model.fit(Frame(a=X[:, 0], b=X[:, 1]), X[:, 0], epochs=1)
    with pytest.raises(ValueError, match="lack the columns 'b'; the model was trained on 'a', 'b'"):
        model.predict(Frame(a=X[:, 0], c=X[:, 1]))
    more = Frame(t=X[:, 0], b=X[:, 1], a=X[:, 0])
    with pytest.raises(ValueError, match=r"columns 't' beside .* x\[model.details\['columns'\]\]"):
        model.evaluate(more, X[:, 0])
    assert model.predict(more[model.details["columns"]]).shape == (24, 1)


def test_a_training_that_is_refused_leaves_no_names_of_columns():
    model = npnn.Sequential([npnn.Dense(2, 1)], seed=1)
    with pytest.raises(ValueError, match="do not go with"):
        model.fit(Frame(a=X[:, 0], b=X[:, 1]), X[:5, 0])
    assert model.details == {}


def test_a_dataset_takes_the_names_of_columns():
    data = nd.Dataset(Frame(a=X[:, 0], b=X[:, 1]), C)
    assert data.feature_names == ("a", "b")
    assert nd.Dataset(Frame(a=X[:, 0]), C, feature_names=["z"]).feature_names == ("z",)


# Tables of other libraries -----------------------------------------------------------------------


def test_tables_of_pandas_are_data_by_their_places(captured_on):
    pd = pytest.importorskip("pandas")
    numbers = np.arange(24)
    frame = pd.DataFrame(
        {"a": pd.array(numbers, dtype="Int64"), "b": pd.array(C == 1, dtype="boolean")},
        index=numbers[::-1],
    )
    plain = np.stack([numbers, C == 1], axis=1).astype(float)
    t = pd.Series(WORDS, index=RNG.permutation(24), dtype="category")
    first, second = classifier(captured_on), classifier(captured_on)
    w = pd.Series(np.ones(24), index=numbers[::-1])
    assert first.fit(frame, t, w=w, epochs=2) == second.fit(plain, WORDS, w=np.ones(24), epochs=2)
    assert first.evaluate(frame[["b", "a"]], t) == second.evaluate(plain, WORDS)
    np.testing.assert_array_equal(nd.Dataset(frame, t).x_data, plain)
    for column, kind in (("a", "Int64"), ("b", "boolean")):
        holed = frame.copy()
        holed.iloc[3, holed.columns.get_loc(column)] = pd.NA
        message = rf"there is a <NA> .*columns? '{column}' \({kind}\): fill or drop missing values"
        with pytest.raises(TypeError, match=message):
            first.predict(holed)


def test_tables_of_polars_are_data(backend_name):
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"a": X[:, 0], "b": X[:, 1]})
    first, second = classifier(backend_name), classifier(backend_name)
    assert first.fit(frame, pl.Series(WORDS), epochs=1) == second.fit(X, WORDS, epochs=1)
    assert first.evaluate(frame.select("b", "a"), pl.Series(C)) == second.evaluate(X, C)
    with pytest.raises(ValueError, match="there is a nan at sample 1"):
        first.predict(pl.DataFrame({"a": [1, 2], "b": [1.0, None]}))
