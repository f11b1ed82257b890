"""Arguments that are walked over, or asked for yes or no, are what they look like."""

import numpy as np
import pytest

import npnn
from npnn import datasets as nd
from npnn import initializers, plots, reports

RNG = np.random.default_rng(5)
X = RNG.normal(size=(6, 3)).astype(np.float32)
C = np.array([0, 1, 2, 0, 1, 2])


def model(**options):
    return npnn.Sequential([npnn.Dense(3, 3), npnn.Softmax()], seed=1, **options)


def fit(**options):
    return model().fit(X, C, **{"epochs": 1, **options})


def named(names):
    made = model()
    made.class_names = names
    return made.class_names


LISTS = {
    "layers": npnn.Sequential,
    "branches": npnn.Parallel,
    "layers of a branch": lambda layers: npnn.Parallel([layers]),
    "layers around which there is a way": npnn.Residual,
    "class names of a model": named,
    "class names of a dataset": lambda names: nd.Dataset(X, C, class_names=names),
    "feature names": lambda names: nd.Dataset(X, C, feature_names=names),
    "class names of a report": lambda names: reports.class_table(np.eye(3, dtype=int), names),
    "class weights": lambda weights: npnn.CrossEntropyLoss(class_weights=weights),
    "callbacks": lambda callbacks: fit(callbacks=callbacks),
}


@pytest.mark.parametrize("what", LISTS)
@pytest.mark.parametrize("value", ["abc", b"abc", {"a", "b", "c"}, 3, np.array(3.0)])
def test_letters_and_sets_and_single_things_are_no_lists(what, value):
    with pytest.raises(TypeError, match=r"must be (a|made of) "):
        LISTS[what](value)


@pytest.mark.parametrize("what", [name for name in LISTS if "weights" not in name])
def test_the_keys_of_a_dict_are_no_list(what):
    with pytest.raises(TypeError, match=r"must be (a|made of) "):
        LISTS[what]({"a": 1, "b": 2, "c": 3})


def test_what_is_walked_over_once_is_whole():
    made = npnn.Sequential(layer for layer in [npnn.Dense(3, 3), npnn.Softmax()])
    assert len(made.layers) == 2
    assert len(npnn.Parallel(npnn.Dense(None, n) for n in (1, 2)).branches) == 2
    assert named(name for name in "abc") == ["a", "b", "c"]
    assert nd.Dataset(X, C, class_names=iter("abc")).class_names == ("a", "b", "c")
    loss = npnn.CrossEntropyLoss(class_weights=(w for w in (1, 2, 3)))
    assert loss.class_weights == (1.0, 2.0, 3.0)


def test_arrays_of_names_are_names(tmp_path):
    made = model()
    made.class_names = np.array(["a", "b", "c"])
    made.save(tmp_path / "m")
    assert npnn.load(tmp_path / "m").class_names == ["a", "b", "c"]
    assert "b" in reports.class_table(np.eye(3, dtype=int), np.array(["a", "b", "c"]))
    pytest.importorskip("matplotlib")
    plane = npnn.Sequential([npnn.Dense(2, 2), npnn.Softmax()], seed=1)
    plots.decision_boundary(plane, X[:, :2], C % 2, class_names=np.array(["a", "b"]))


def test_two_classes_of_one_name_are_refused():
    with pytest.raises(ValueError, match="class_names must differ, but 'a' is there twice"):
        named(["a", "b", "a"])


FLAGS = {
    "shuffle": fit,
    "progress": fit,
    "capture": model,
    "restore_best": npnn.EarlyStopping,
    "best_only": lambda best_only: npnn.Checkpoint("x", best_only=best_only),
    "nesterov": npnn.SGD,
    "flat": nd.Digits,
}


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", ["no", 0, None, np.array([1, 0])])
def test_yes_or_no_is_said_by_a_bool(name, value):
    with pytest.raises(TypeError, match=f"{name} must be True or False, not"):
        FLAGS[name](**{name: value})


def test_a_bool_of_numpy_is_one():
    assert fit(shuffle=np.True_).num_epochs == 1
    assert npnn.SGD(nesterov=np.bool_(False)).nesterov is False


NUMBERS = {
    "probability": npnn.Dropout,
    "slope": npnn.LeakyReLU,
    "epsilon": npnn.BatchNorm,
    "delta": npnn.HuberLoss,
    "beta": npnn.KullbackLeiblerLoss,
    "pad_value": npnn.Pad2D,
    "value": initializers.Constant,
    "gain": initializers.Orthogonal,
    "final": lambda final: npnn.Cosine(10, final=final),
    "threshold": npnn.ReduceOnPlateau,
    "smallest": npnn.ReduceOnPlateau,
    "min_delta": npnn.EarlyStopping,
}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    ("value", "error"),
    [("0.5", TypeError), (True, TypeError), (np.array([0.5]), TypeError), (np.nan, ValueError)],
)
def test_a_number_is_one(name, value, error):
    with pytest.raises(error, match=f"{name} must be a (finite )?number, not"):
        NUMBERS[name](**{name: value})


def test_zero_has_no_sign():
    assert str(npnn.Dropout(-0.0).probability) == "0.0"
    assert str(npnn.CrossEntropyLoss(class_weights=[-0.0, 1.0]).class_weights[0]) == "0.0"


@pytest.mark.parametrize("warm_up", ["1", 1.5, True, np.nan])
def test_a_warm_up_is_an_integer(warm_up):
    with pytest.raises(TypeError, match="warm_up must be an int"):
        npnn.Cosine(10, warm_up=warm_up)


@pytest.mark.parametrize("value", [np.array([3, 2]), "32", {3, 2}, True, 3.0])
def test_a_shape_is_an_int_or_a_tuple_of_ints(value):
    with pytest.raises(TypeError, match="shape_in must be an int or a tuple of ints, not"):
        npnn.Dense(value, 2)
    with pytest.raises(TypeError, match="kernel_size must be an int or a pair of ints, not"):
        npnn.Conv2D((4, 4, 1), 2, value)
    with pytest.raises(TypeError, match="kernel_size must be an int or a pair of ints, not"):
        npnn.Conv2D((4, 4, 1), 2, (value, 1))


PATHS = {
    "path of a checkpoint": npnn.Checkpoint,
    "path of a log": npnn.CSVLog,
    "path of a table": nd.Table,
    "resume": lambda resume: fit(resume=resume),
}


@pytest.mark.parametrize("what", PATHS)
@pytest.mark.parametrize("value", [3, True, b"x", ["x"]])
def test_a_path_is_one(what, value):
    name = what.split()[0]
    with pytest.raises(TypeError, match=f"{name} must be the path of a file, not"):
        PATHS[what](value)


@pytest.mark.parametrize("value", [3, npnn.initializers.Constant, ["Constant"]])
def test_an_initializer_is_one(value):
    with pytest.raises(TypeError, match="initializer must be an Initializer"):
        npnn.Dense(3, 2, initializer=value)


@pytest.mark.parametrize("ignore", [{"a": 1}, {"a"}, 1.5])
def test_columns_to_ignore_are_a_list(ignore, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n1,2,3\n2,3,4\n3,4,5\n")
    with pytest.raises(TypeError, match="ignore must be a list of columns"):
        nd.Table(path, ignore=ignore)


@pytest.mark.parametrize("num_classes", ["3", True, 2.0])
def test_a_number_of_classes_is_an_integer(num_classes):
    with pytest.raises(TypeError, match="num_classes must be an int"):
        reports.confusion_counts([0, 1], [1, 0], num_classes)


def test_what_came_is_told_in_one_line():
    wide = np.arange(300).reshape(100, 3)
    for use in (
        lambda: fit(shuffle=wide),
        lambda: fit(epochs=wide),
        lambda: fit(validation_data={"x": wide, "t": wide}),
        lambda: npnn.Dropout(wide),
        lambda: npnn.Checkpoint({"path": wide}),
        lambda: fit(callbacks=wide.tobytes()),
    ):
        with pytest.raises(TypeError) as caught:
            use()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 250


# Shapes that are often meant otherwise ------------------------------------------------------------


@pytest.mark.parametrize("capture", [True, False])
def test_one_sample_is_refused_with_the_line_that_makes_a_batch_of_it(capture):
    made = model(capture=capture)
    made.chain = npnn.CrossEntropyLoss()
    optimizer = npnn.Adam()
    optimizer.model = made
    for use in (
        lambda: made.predict(X[0]),
        lambda: made.predict_class(X[0].tolist()),
        lambda: made.evaluate(X[0], C[0]),
        lambda: made.fit(X[0], C[0]),
        lambda: optimizer.step(X[0], C[0]),
    ):
        with pytest.raises(ValueError, match=r"have 1: \(3,\): x\[None\] makes a batch of one"):
            use()
    single = npnn.Sequential([npnn.Dense(1, 1)])
    with pytest.raises(ValueError, match=r"x\[:, None\] makes samples of one number each"):
        single.predict(X[0])


def test_a_dataset_is_for_fit():
    data = nd.Dataset(X, C)
    with pytest.raises(TypeError, match=r"a Dataset is for fit; .* x_validation_data and y_val"):
        model().predict(data)


def test_inputs_of_several_arrays_are_some():
    with pytest.raises(ValueError, match="there is nothing in the dict"):
        model().predict({})


def test_targets_of_one_output_may_be_a_column_or_none(backend_name):
    made = npnn.Sequential([npnn.Dense(3, 1)], backend=backend_name, seed=1)
    made.chain = npnn.RMSLoss()
    assert made.evaluate(X, X[:, 0]) == made.evaluate(X, X[:, :1])
    for t in (X[None, :, 0], X[:, :1, None]):
        with pytest.raises(ValueError, match="do not fit outputs"):
            made.evaluate(X, t)


def test_a_batch_may_be_larger_than_the_data_and_the_data_one_sample():
    assert fit(batch_size=1000).num_epochs == 1
    assert model().fit(X[:1], C[:1], epochs=1).num_epochs == 1
    assert model().predict(X, batch_size=1000).shape == (6, 3)
