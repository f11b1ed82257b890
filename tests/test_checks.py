"""What a newcomer may hand in by mistake, and what the error then says."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
from oracles import host_parameters

import npnn

RNG = np.random.default_rng(5)
X = RNG.normal(size=(20, 3))
C = (X[:, 0] > 0).astype(np.int64)


def classifier(backend="numpy", outputs=2, **options):
    layers = [npnn.Dense(3, outputs), npnn.Softmax()]
    return npnn.Sequential(layers, backend=backend, seed=1, **options)


def yes_or_no(backend="numpy"):
    return npnn.Sequential([npnn.Dense(3, 1), npnn.Sigmoid()], backend=backend, seed=1)


def refused(use, error, message):
    with pytest.raises(error, match=message) as caught:
        use()
    return str(caught.value)


# Targets that a loss has no use for --------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "found"), [((-1, 1), "-1"), ((1, 2), "2"), ((0, 255), "255"), ((0.0, 1.5), "1.5")]
)
def test_answers_beyond_no_and_yes_are_refused(labels, found, backend_name):
    t = np.where(C, labels[1], labels[0])
    model = yes_or_no(backend_name)
    before = host_parameters(model)
    message = rf"BinaryCrossEntropyLoss: targets must be from 0 \(no\) to 1 .* there is a {found}:"
    refused(lambda: model.fit(X, t), ValueError, message)
    assert model.chain is None
    model.chain = npnn.BinaryCrossEntropyLoss()
    refused(lambda: model.evaluate(X, t), ValueError, message)
    optimizer = npnn.Adam()
    optimizer.model = model
    refused(lambda: optimizer.step(X, t), ValueError, message)
    assert optimizer.steps == 0
    for name, array in host_parameters(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_every_sample_is_looked_at_and_not_a_batch_of_them():
    t = C.astype(np.float32)
    t[-1] = 2.0
    refused(lambda: yes_or_no().fit(X, t, batch_size=2), ValueError, "there is a 2:")
    refused(lambda: yes_or_no().fit(X, C, validation_data=(X, t)), ValueError, "there is a 2:")


@pytest.mark.parametrize(
    ("row", "found"), [([5.0, 5.0], "10"), ([0.0, 0.0], "0"), ([-1.0, 2.0], "-1"), ([1, 1], "2")]
)
def test_what_are_no_probabilities_of_classes_is_refused(row, found, backend_name):
    t = np.eye(2)[C]
    t[7] = row
    message = f"CrossEntropyLoss: .*probabilities that sum to 1, or an integer class, .* {found}[.]"
    refused(lambda: classifier(backend_name).fit(X, t), ValueError, message)


def test_rounded_probabilities_and_answers_in_between_are_targets():
    thirds = np.full((20, 3), 0.33)
    assert classifier(outputs=3).fit(X, thirds, epochs=1).num_epochs == 1
    assert yes_or_no().fit(X, np.full(20, 0.5), epochs=1).num_epochs == 1


# Class labels ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        lambda c: c.astype(bool),
        lambda c: c.astype(bool)[:, None],
        lambda c: c[:, None],
        lambda c: c.astype(bool).tolist(),
        lambda c: c.astype(object),
        lambda c: c.astype(np.uint8)[:, None],
    ],
)
def test_labels_of_any_plain_form_train_as_integers_do(form, captured_on):
    first, second = classifier(captured_on), classifier(captured_on)
    # Each kind of integer is a step of its own to XLA, which may add up in another order.
    found, expected = (m.fit(X, c, epochs=2, seed=0) for m, c in ((first, form(C)), (second, C)))
    assert dict(found) == {name: pytest.approx(value, 1e-5) for name, value in expected.items()}
    assert first.evaluate(X, form(C)) == pytest.approx(second.evaluate(X, C), 1e-5)


def test_labels_of_another_kind_are_refused_with_the_remedy(backend_name):
    model = classifier(backend_name)
    for t in (C.astype(float), C.astype(float)[:, None]):
        refused(lambda t=t: model.fit(X, t), ValueError, r"must be integers: t\.astype\(int\)")
    t = C.astype(float)
    t[3] = np.nan
    refused(lambda: model.fit(X, t), ValueError, "the labels hold NaN: leave those samples out")
    three = classifier(backend_name, 3)
    refused(lambda: three.fit(X, C > 0), ValueError, "booleans name 2 classes, but there are 3")
    refused(lambda: three.fit(X, C[:, None] + 3), ValueError, "from 0 to 2, but there is a 4")


def test_labels_with_a_hole_are_not_called_words():
    t = [0, 1, None, *C[3:]]
    message = refused(lambda: classifier().fit(X, t), TypeError, r"there is a None .*at \(2,\)")
    assert "np.unique" not in message


# Inputs that are no numbers ----------------------------------------------------------------------


class Table:
    """What a data frame looks like from outside: columns, each an array, and all of them joined."""

    def __init__(self, **columns):
        self.data = {name: np.asarray(column) for name, column in columns.items()}
        self.columns = list(columns)

    def __getitem__(self, name):
        return self.data[name]

    def __array__(self, dtype=None, copy=None):
        return np.stack([column.astype(object) for column in self.data.values()], axis=1)


def test_the_columns_of_a_table_that_hold_no_numbers_are_named(backend_name):
    model = npnn.Sequential([npnn.Dense(None, 2), npnn.Softmax()], backend=backend_name)
    table = Table(age=[1, 2], city=["Oslo", "Rome"], size=[1.5, 2.5], kind=[None, 3.0])
    message = r"inputs x: .*columns 'city' \(<U4\), 'kind' \(object\): fill or drop"
    for use in (model.fit, model.evaluate):
        refused(lambda use=use: use(table, [0, 1]), TypeError, message)
    refused(lambda: model.predict(table), TypeError, message)
    refused(lambda: model.fit(np.ones((2, 3)), table), TypeError, "targets t: .*'city'")


def test_a_table_of_numbers_of_several_kinds_is_data(backend_name):
    model = npnn.Sequential([npnn.Dense(None, 2)], backend=backend_name, seed=0)
    y = model.backend.to_numpy(model.predict(Table(age=[1, 2], size=[1.5, 2.5])))
    np.testing.assert_array_equal(y, model.backend.to_numpy(model.predict([[1, 1.5], [2, 2.5]])))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X + 0j, "not one of complex128"),
        (X.astype("datetime64[D]"), "not one of datetime64"),
        (X.astype("timedelta64[s]"), "not one of timedelta64"),
        (X.astype(str), "not one of <U"),
        (np.full((20, 3), None), "there is a None"),
    ],
)
def test_what_is_no_real_number_is_refused_by_name(x, message, backend_name):
    model = classifier(backend_name)
    refused(lambda: model.fit(x, C), TypeError, f"^inputs x: .*{message}")
    refused(lambda: model.predict(x), TypeError, f"^inputs x: .*{message}")
    t = x[:, :2]
    refused(lambda: model.fit(X, t), TypeError, f"^targets t: .*{message}")


def test_complex_tensors_are_refused_too(backend_name):
    torch = pytest.importorskip("torch")
    refused(
        lambda: classifier(backend_name).fit(
            torch.complex(torch.ones(20, 3), torch.ones(20, 3)), C
        ),
        TypeError,
        "^inputs x: .*not one of complex64",
    )


def test_hidden_values_are_refused_and_a_mask_that_hides_nothing_is_not(backend_name):
    x = X.copy()
    x[[4, 9], 1] = np.nan
    masked = np.ma.masked_invalid(x)
    message = r"inputs x: 2 values are hidden by a mask, the first at \(4, 1\)"
    refused(lambda: classifier(backend_name).fit(masked, C), ValueError, message)
    message = "targets t: 20 values are hidden"
    hidden = np.ma.array(C, mask=True)
    refused(lambda: classifier(backend_name).fit(X, hidden), ValueError, message)
    one, other = classifier(backend_name), classifier(backend_name)
    assert one.fit(np.ma.array(X), C, epochs=1) == other.fit(X, C, epochs=1)


def test_numbers_too_large_for_the_dtype_are_called_that():
    x, t = X.copy(), X.copy()
    x[3, 1], t[5, 2] = 1e39, -1e39
    model = npnn.Sequential([npnn.Dense(3, 3)], seed=0)
    where = r"inputs must fit float32, but there is a 1e\+39 at sample 3, position \(1,\)"
    message = refused(lambda: model.fit(x, X), ValueError, where)
    assert "dtype='float64'" in message
    refused(
        lambda: model.fit(X, t), ValueError, r"targets must fit float32, .* -1e\+39 at sample 5"
    )
    double = npnn.Sequential([npnn.Dense(3, 3)], dtype="float64", seed=0)
    double.fit(X, t, epochs=1, optimizer=npnn.Adam(1e-9))


def test_no_class_and_no_accuracy_is_made_of_nan(backend_name):
    model = classifier(backend_name)
    x = X.copy()
    x[17, 2] = np.nan
    message = r"inputs must be finite numbers, but there is a nan at sample 17, position \(2,\)"
    refused(lambda: model.predict_class(x), ValueError, message)
    refused(lambda: model.evaluate(x, C), ValueError, message)
    t = np.eye(2)[C]
    t[1, 0] = np.inf
    refused(lambda: model.evaluate(X, t), ValueError, "targets must be finite .* inf at sample 1")


class Plain(npnn.Dense):
    """A layer of one's own, of whose outputs nothing is known."""


def test_a_model_that_makes_nan_of_numbers_has_no_classes(backend_name):
    model = classifier(backend_name)
    vars(model.layers[0])["w"] = model.backend.asarray(np.full((3, 2), np.nan))  # past all doors
    refused(lambda: model.predict_class(X), ValueError, "outputs of the model must be finite")
    model = npnn.Sequential([Plain(1, 2)], backend=backend_name)
    model.set_arrays({"0.w": np.array([[1.0, 1e38]]), "0.b": np.zeros(2)})
    with np.errstate(over="ignore"):
        classes = model.backend.to_numpy(model.predict_class([[1e3], [-1e3]]))
    np.testing.assert_array_equal(classes, [1, 0])


def test_a_normalisation_for_other_inputs_is_refused_with_both_shapes(backend_name):
    model = classifier(backend_name)
    model.norm = npnn.Normalization([0.0, 1.0], 2.0)
    model.chain = npnn.CrossEntropyLoss()
    optimizer = npnn.Adam()
    optimizer.model = model
    message = r"norm does not fit the inputs: its offset has shape \(2,\), .* shape \(3,\)"
    for use in (
        lambda: model.fit(X, C),
        lambda: model.predict(X),
        lambda: model.evaluate(X, C),
        lambda: optimizer.step(X, C),
    ):
        refused(use, ValueError, message)
    model.norm = npnn.Normalization(0.0, [1.0, 2.0, 3.0])
    assert model.fit(X, C, epochs=1).num_epochs == 1


# Arguments of the wrong kind ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"optimizer": 3}, TypeError, r"optimizer must be an Optimizer such as Adam\(\)"),
        ({"optimizer": npnn.Adam}, TypeError, r"optimizer .*not a class: write Adam\(\.\.\.\)"),
        ({"loss": 3}, TypeError, "loss must be a LossLayer such as"),
        ({"loss": npnn.RMSLoss}, TypeError, r"loss .*not a class: write RMSLoss\(\.\.\.\)"),
        ({"callbacks": npnn.EarlyStopping()}, TypeError, r"a list .*write \[EarlyStopping"),
        ({"callbacks": [npnn.EarlyStopping]}, TypeError, r"callbacks\[0\] .*write EarlyStopping"),
        (
            {"callbacks": [npnn.Callback(), lambda: 0]},
            TypeError,
            r"callbacks\[1\] must be a function of \(training, metrics\), not of \(\)",
        ),
        ({"callbacks": None}, TypeError, "callbacks must be a list of callbacks, not None"),
        ({"validation_data": X}, TypeError, r"pair \(x, t\) .* an array of shape \(20, 3\)"),
        ({"validation_data": (X, C, C, C)}, TypeError, "a tuple of 4"),
        ({"validation_split": "half"}, TypeError, "validation_split must be a number"),
        (
            {"validation_data": (X, C), "validation_split": 0.1},
            ValueError,
            "either validation_data or validation_split",
        ),
        ({"seed": -1}, ValueError, "seed must be at least 0, not -1"),
        ({"seed": "a"}, TypeError, "seed must be an int, not 'a'"),
        ({"batch_size": None}, TypeError, "batch_size must be an int, not None"),
        (
            {"callbacks": [npnn.EarlyStopping(monitor="foo")]},
            ValueError,
            "EarlyStopping watches 'foo', but training reports loss, accuracy",
        ),
        (
            {"callbacks": [npnn.LearningRateSchedule(npnn.ReduceOnPlateau(), "val_loss")]},
            ValueError,
            "LearningRateSchedule watches 'val_loss', but training reports loss, accuracy",
        ),
        (
            {"callbacks": [npnn.Checkpoint("nodir/x.st")]},
            FileNotFoundError,
            "cannot write 'nodir/x.st': there is no folder 'nodir'",
        ),
        ({"callbacks": [npnn.CSVLog("nodir/x.csv")]}, FileNotFoundError, "no folder 'nodir'"),
        ({"callbacks": [npnn.Checkpoint(".")]}, IsADirectoryError, "it is a folder"),
    ],
)
def test_an_argument_of_fit_that_makes_no_sense_is_named_before_training(options, error, message):
    model, other = classifier(), classifier()
    refused(lambda: model.fit(X, C, **options), error, message)
    for name, array in host_parameters(other).items():
        np.testing.assert_array_equal(host_parameters(model)[name], array)


def test_what_a_dataset_brings_itself_is_not_dropped_silently():
    data = npnn.datasets.XORTwoClasses(seed=0)
    model = npnn.Sequential([npnn.Dense(2, 2), npnn.Softmax()])
    refused(lambda: model.fit(data, C), ValueError, "a dataset brings its own targets")
    refused(lambda: model.fit(data, validation_split=0.5), ValueError, "its own validation part")
    assert (model.norm, model.class_names, model.chain) == (None, None, None)


@pytest.mark.parametrize(
    ("use", "error", "message"),
    [
        (lambda: npnn.Adam(lr=0.1), TypeError, "Adam has no argument 'lr': write alpha"),
        (lambda: npnn.GradientDescent(rate=1.0), TypeError, "GradientDescent has no argument"),
        (lambda: npnn.Adam(schedule="cosine"), TypeError, "schedule must be a Schedule such as"),
        (lambda: npnn.Adam(schedule=npnn.Cosine), TypeError, r"write Cosine\(\.\.\.\)"),
        (lambda: npnn.LearningRateSchedule(npnn.Cosine), TypeError, "schedule must be a Schedule"),
        (lambda: setattr(npnn.Adam(), "schedule", 3), TypeError, "schedule must be a Schedule"),
        (lambda: setattr(npnn.Adam(), "model", "x"), TypeError, "model must be a Sequential"),
        (lambda: setattr(npnn.Adam(), "norm", 3), TypeError, "norm must be a Normalization"),
        (lambda: setattr(classifier(), "norm", 3), TypeError, "norm must be a Normalization"),
        (lambda: setattr(classifier(), "chain", "x"), TypeError, "chain must be a loss or a model"),
        (lambda: setattr(npnn.RMSLoss(), "chain", "x"), TypeError, "chain must be a loss or a"),
        (lambda: npnn.Sequential(seed="a"), TypeError, "seed must be an int, not 'a'"),
        (
            lambda: npnn.Sequential(npnn.Dense(2, 2), npnn.ReLU()),
            TypeError,
            r"one list: Sequential\(\[Dense\(2, 2\), ReLU",
        ),
        (lambda: npnn.Sequential(npnn.Dense(2, 2)), TypeError, r"a list: Sequential\(\[Dense"),
        (lambda: npnn.Sequential(3), TypeError, "must be a list of layers, not 3"),
        (lambda: classifier().plan(0), ValueError, "batch_size must be at least 1, not 0"),
        (lambda: classifier().evaluate(X, C, batch_size=None), TypeError, "batch_size must be an"),
        (lambda: npnn.EarlyStopping("val_loss"), TypeError, "patience must be an int"),
        (lambda: npnn.EarlyStopping(5, 3), TypeError, "monitor must be the name of a metric"),
        (lambda: classifier().save("nodir/m.st"), FileNotFoundError, "no folder 'nodir'"),
        (lambda: npnn.History().to_csv("nodir/h.csv"), FileNotFoundError, "no folder 'nodir'"),
        (lambda: npnn.History().plot("x.foo"), ValueError, "path must end in .png"),
    ],
)
def test_a_mistake_is_named_where_it_is_made(use, error, message):
    refused(use, error, message)


# What help() and a prompt show -------------------------------------------------------------------


def test_fit_shows_its_arguments_and_both_fits_have_the_same():
    ours = list(inspect.signature(npnn.Sequential.fit).parameters.values())[1:]
    assert ours == list(inspect.signature(npnn.training.fit).parameters.values())[1:]
    for parameter in ours:
        assert f"{parameter.name} : " in npnn.Sequential.fit.__doc__ or parameter.name == "t"


def test_what_few_need_is_reached_by_its_name_and_imported_only_then():
    code = (
        "import sys, npnn; assert 'npnn.plots' not in sys.modules; npnn.reports; "
        "assert 'plots' in dir(npnn); npnn.nothing"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip().endswith("AttributeError: module 'npnn' has no attribute 'nothing'")


# Layers of one's own -----------------------------------------------------------------------------


class Own(npnn.Layer):
    """A scale for each feature, with something wrong with it."""

    parameter_names = ("s",)

    def __init__(self):
        self.mistake = Own.mistake

    def __repr__(self):
        return "Own()"

    def build(self, shape_in, rng=None):
        if self.mistake != "draw":
            self.draw("s", "Constant", rng, self.accept(shape_in))
        shape = super().build(shape_in, rng)
        return None if self.mistake == "build" else shape

    def forward(self, x):
        self.x = x
        y = x * self.s
        return {"forward": y[..., :1], "none": None}.get(self.mistake, y)

    def backward(self, grad_y):
        xp = npnn.arrays.array_namespace(grad_y)
        if self.mistake != "grad":
            self.grad_s = xp.sum(grad_y * self.x, axis=0)
        if self.mistake == "grad shape":
            self.grad_s = grad_y * self.x
        return xp.sum(grad_y) if self.mistake == "backward" else grad_y * self.s


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("draw", r"layer 1, Own\(\): build drew no 's'.*call self.draw\('s', ...\)"),
        ("build", r"layer 1, Own\(\): build must set shape_out and return it.* returned None"),
        ("forward", r"layer 1, Own: forward gave an array of shape \(20, 1\), but \(20, 4\)"),
        ("none", r"layer 1, Own: forward gave None, but an array of shape \(20, 4\)"),
        ("grad", r"layer 1, Own: backward left as grad_s None, but an array of shape \(4,\)"),
        ("grad shape", r"layer 1, Own: backward left as grad_s an array of shape \(20, 4\)"),
        ("backward", r"layer 1, Own: backward gave an array of shape \(\), but \(20, 4\)"),
    ],
)
@pytest.mark.parametrize("capture", [True, False])
def test_a_mistake_in_a_layer_is_named_with_its_place(mistake, message, capture, backend_name):
    Own.mistake = mistake

    def use():
        model = npnn.Sequential(
            [npnn.Dense(3, 4), Own(), npnn.Dense(4, 1)], backend=backend_name, capture=capture
        )
        model.fit(X, X[:, 0], epochs=1)

    refused(use, (TypeError, ValueError), message)


def test_after_the_first_run_layers_are_looked_at_no_more(working_backends):
    Own.mistake = ""
    for name in working_backends:
        layer = Own()
        model = npnn.Sequential([npnn.Dense(3, 4), layer, npnn.Dense(4, 1)], backend=name)
        model.fit(X, X[:, 0], epochs=1)
        model.predict(X)
        assert not {"forward", "backward"} & vars(layer).keys()


# Warnings ----------------------------------------------------------------------------------------


def test_a_diverging_training_warns_only_where_a_debugger_may_want_it():
    def fit(capture):
        model = npnn.Sequential([npnn.Dense(3, 8), npnn.Dense(8, 1)], seed=0, capture=capture)
        with pytest.raises(npnn.DivergedError):
            model.fit(X, X[:, 0], epochs=50, optimizer=npnn.GradientDescent(1e6))

    fit(True)  # a warning would be an error here
    with pytest.warns(RuntimeWarning):
        fit(False)
