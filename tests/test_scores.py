"""The metrics of fit and evaluate are those of scikit-learn, over all samples at once."""

import math

import numpy as np
import pytest

import npnn
from npnn import scores
from npnn.scores import Answers

RNG = np.random.default_rng(11)
N = 60


def probabilities(classes):
    """Return outputs with ties, and classes that they agree with now and then."""
    y = RNG.integers(1, 6, size=(N, classes)).astype(np.float64)
    t = np.where(RNG.random(N) < 0.5, y.argmax(axis=1), RNG.integers(classes, size=N))
    return (y / y.sum(axis=1, keepdims=True)).astype(np.float32), t


def answers(kind, outputs, weighted):
    w = RNG.random(N) + 0.1 if weighted else np.ones(N)
    if kind == "classes":
        return Answers(*probabilities(outputs), w, kind)
    y = np.round(RNG.random((N, outputs)), 1).astype(np.float32)
    if kind == "labels":
        t = ((y + RNG.normal(0, 0.4, y.shape)) > 0.5).astype(np.float32)
        return Answers(y, t, w, kind)
    return Answers(y, y + RNG.normal(size=y.shape).astype(np.float32), w, kind)


# What scikit-learn says --------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_metrics_of_classes_are_those_of_scikit_learn(classes, weighted):
    sk = pytest.importorskip("sklearn.metrics")
    a = answers("classes", classes, weighted)
    given, average = a.y.argmax(axis=1), "binary" if classes == 2 else "macro"
    options = {"average": average, "zero_division": 0, "sample_weight": a.w}
    w = {"sample_weight": a.w}
    many = {"multi_class": "ovr"} if classes > 2 else {}
    for mine, theirs in {
        scores.accuracy: sk.accuracy_score(a.t, given, **w),
        scores.f1: sk.f1_score(a.t, given, **options),
        scores.precision: sk.precision_score(a.t, given, **options),
        scores.recall: sk.recall_score(a.t, given, **options),
        scores.log_loss: sk.log_loss(a.t, a.y, **w),
        scores.balanced_accuracy: sk.balanced_accuracy_score(a.t, given, **w),
        scores.average_precision: sk.average_precision_score(a.t, a.y if many else a.y[:, 1], **w),
        scores.roc_auc: sk.roc_auc_score(a.t, a.y if many else a.y[:, 1], **many, **w),
    }.items():
        assert mine(a) == pytest.approx(theirs, rel=1e-5), mine.__name__
    if classes > 2:
        expected = sk.top_k_accuracy_score(a.t, a.y, k=2, labels=np.arange(classes), **w)
        assert scores.top(2)(a) == pytest.approx(expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("labels", [1, 3])
def test_metrics_of_labels_are_those_of_scikit_learn(labels, weighted):
    sk = pytest.importorskip("sklearn.metrics")
    a = answers("labels", labels, weighted)
    given, true = a.y > 0.5, a.t > 0.5
    options = {"average": "macro" if labels > 1 else "binary", "zero_division": 0}
    options["sample_weight"] = a.w
    if labels == 1:
        given, true = given[:, 0], true[:, 0]
        assert scores.log_loss(a) == pytest.approx(
            sk.log_loss(true, a.y[:, 0], sample_weight=a.w), rel=1e-5
        )
    y = a.y if labels > 1 else a.y[:, 0]
    for mine, theirs in {
        scores.f1: sk.f1_score(true, given, **options),
        scores.precision: sk.precision_score(true, given, **options),
        scores.recall: sk.recall_score(true, given, **options),
        scores.roc_auc: sk.roc_auc_score(true, y, sample_weight=a.w),
        scores.average_precision: sk.average_precision_score(true, y, sample_weight=a.w),
        scores.balanced_accuracy: np.mean(
            [
                sk.balanced_accuracy_score(a.t[:, n], a.y[:, n] > 0.5, sample_weight=a.w)
                for n in range(labels)
            ]
        ),
    }.items():
        assert mine(a) == pytest.approx(theirs, rel=1e-5), mine.__name__


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["2 classes", "5 classes", "1 labels", "3 labels"])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_averages_over_classes_are_those_of_scikit_learn(average, kind, weighted):
    sk = pytest.importorskip("sklearn.metrics")
    count, kind = kind.split()
    a = answers(kind, int(count), weighted)
    true, given = (a.t, a.y.argmax(axis=1)) if kind == "classes" else (a.t > 0.5, a.y > 0.5)
    if count == "1":
        true, given = true[:, 0], given[:, 0]
    options = {"average": average, "zero_division": 0, "sample_weight": a.w}
    for name in ("f1", "precision", "recall"):
        expected = getattr(sk, f"{name}_score")(true, given, **options)
        assert scores.OF_CLASSES[f"{name}_{average}"](a) == pytest.approx(expected), name
        assert scores.large_is_good(f"val_{name}_{average}")


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("outputs", [1, 3])
def test_metrics_of_numbers_are_those_of_scikit_learn(outputs, weighted):
    sk = pytest.importorskip("sklearn.metrics")
    a = answers("numbers", outputs, weighted)
    a = a._replace(w=np.maximum(np.round(3 * a.w), 1.0))  # halves that are met exactly, too

    def median(t, y, sample_weight):
        """The oldest scikit-learn takes the lower of two middle values that have weights."""
        repeats = sample_weight.astype(int)
        return sk.median_absolute_error(np.repeat(t, repeats, 0), np.repeat(y, repeats, 0))

    for mine, theirs in {
        scores.mae: sk.mean_absolute_error,
        scores.mse: sk.mean_squared_error,
        scores.rmse: sk.root_mean_squared_error,
        scores.r2: sk.r2_score,
        scores.median_absolute_error: median,
    }.items():
        expected = theirs(a.t.astype(float), a.y.astype(float), sample_weight=a.w)
        assert mine(a) == pytest.approx(expected, rel=1e-5), mine.__name__


# What can be counted by hand ---------------------------------------------------------------------


def test_metrics_of_a_few_samples_can_be_counted():
    y = np.array([[0.9], [0.8], [0.6], [0.4], [0.3]])
    a = Answers(y, np.array([[1.0], [0.0], [1.0], [1.0], [0.0]]), np.ones(5), "labels")
    assert scores.accuracy(a) == pytest.approx(3 / 5)
    assert scores.precision(a) == pytest.approx(2 / 3)
    assert scores.recall(a) == pytest.approx(2 / 3)
    assert scores.f1(a) == pytest.approx(2 / 3)
    assert scores.roc_auc(a) == pytest.approx(4 / 6)  # of 3 x 2 pairs
    assert scores.log_loss(a) == pytest.approx(-np.log([0.9, 0.2, 0.6, 0.4, 0.7]).mean())
    numbers = Answers(np.array([[1.0], [3.0]]), np.array([[2.0], [6.0]]), np.ones(2), "numbers")
    assert scores.mae(numbers) == 2.0
    assert scores.mse(numbers) == 5.0
    assert scores.rmse(numbers) == math.sqrt(5.0)
    assert scores.r2(numbers) == pytest.approx(1 - 10 / 8)


def test_a_weight_of_two_is_a_sample_twice():
    for kind, outputs in (("classes", 3), ("labels", 2), ("numbers", 2)):
        a = answers(kind, outputs, weighted=False)
        twice = RNG.random(N) < 0.3
        rows = np.concatenate([np.arange(N), np.flatnonzero(twice)])
        repeated = Answers(a.y[rows], a.t[rows], np.ones(len(rows)), kind)
        weighed = a._replace(w=1.0 + twice)
        for measure in (scores.OF_NUMBERS if kind == "numbers" else scores.OF_CLASSES).values():
            assert measure(weighed) == pytest.approx(measure(repeated)), measure.__name__


def test_what_is_not_defined_is_zero_or_no_number():
    none = Answers(np.array([[0.1], [0.2]]), np.zeros((2, 1)), np.ones(2), "labels")
    assert scores.f1(none) == scores.precision(none) == scores.recall(none) == 0.0
    assert math.isnan(scores.roc_auc(none))
    constant = Answers(np.ones((2, 1)), np.ones((2, 1)), np.ones(2), "numbers")
    assert scores.r2(constant) == 1.0
    assert scores.r2(constant._replace(y=np.zeros((2, 1)))) == 0.0
    assert math.isnan(scores.r2(Answers(np.ones((1, 1)), np.ones((1, 1)), np.ones(1), "numbers")))
    sure = Answers(np.array([[0.0, 1.0]]), np.array([0]), np.ones(1), "classes")
    assert math.isfinite(scores.log_loss(sure))


def test_classes_at_each_place_of_an_image_are_answers_each():
    y = RNG.random((4, 2, 3, 5))
    t = RNG.integers(5, size=(4, 2, 3))
    w = np.arange(1.0, 5.0)
    a = Answers(y, t, w, "classes")
    flat = Answers(y.reshape(-1, 5), t.reshape(-1), np.repeat(w, 6), "classes")
    for measure in scores.OF_CLASSES.values():
        assert measure(a) == pytest.approx(measure(flat)), measure.__name__


# In fit and evaluate -----------------------------------------------------------------------------

X = RNG.normal(size=(50, 4)).astype(np.float32)
C = (X[:, 0] + X[:, 1] > 0).astype(int)
T = X[:, :1] * 2.0 + 1.0


def classifier(classes=2, **options):
    layers = [npnn.Dense(4, 8), npnn.Dropout(0.5), npnn.Dense(classes), npnn.Softmax()]
    return npnn.Sequential(layers, seed=1, **options)


def regressor(**options):
    return npnn.Sequential([npnn.Dense(4, 8), npnn.Tanh(), npnn.Dense(8, 1)], seed=1, **options)


def share(y, t):
    assert type(y) is type(t) is np.ndarray
    return (y.argmax(axis=1) == t).mean()


def test_metrics_are_those_of_the_model_at_the_end_of_the_epoch(captured_on):
    model = classifier(backend=captured_on)
    history = model.fit(
        X,
        C,
        epochs=2,
        batch_size=7,
        metrics=["f1", share, "ROC AUC"],
        validation_data=(X[:9], C[:9]),
    )
    names = ["loss", "accuracy", "f1", "share", "roc_auc"]
    assert list(history) == names + [f"val_{name}" for name in names]
    assert all(len(values) == 2 for values in history.values())
    now = model.evaluate(X, C, metrics=["f1", share, "roc_auc"])
    assert list(now) == names
    for name in names[2:]:
        assert history[name][-1] == pytest.approx(now[name], abs=1e-6)
    assert now["share"] == pytest.approx(now["accuracy"])
    validated = model.evaluate(X[:9], C[:9], batch_size=4, metrics=["f1"])
    assert history["val_f1"][-1] == pytest.approx(validated["f1"])
    y = model.backend.to_numpy(model.predict(X))
    assert now["f1"] == pytest.approx(scores.f1(Answers(y, C, np.ones(50), "classes")))


def test_who_asks_for_no_metrics_trains_as_before_and_with_them_alike():
    plain = classifier().fit(X, C, epochs=3)
    asked = classifier().fit(X, C, epochs=3, metrics=["f1", "accuracy"])
    assert list(plain) == ["loss", "accuracy"]
    assert {name: asked[name] for name in plain} == dict(plain)


def test_metrics_of_numbers_and_weights():
    w = RNG.random(50)
    model = regressor()
    model.fit(X, T, w=w, epochs=1)
    found = model.evaluate(X, T, w, metrics=["mae", "RMSE", "r2"])
    error = model.predict(X) - T
    assert found["mae"] == pytest.approx(np.average(np.abs(error)[:, 0], weights=w), rel=1e-5)
    assert found["rmse"] == pytest.approx(math.sqrt(2 * found["loss"]), rel=1e-5)
    assert model.evaluate(X, T[:, 0], metrics=["mae"])["mae"] == pytest.approx(
        float(np.abs(error).mean())
    )


def test_other_outputs_have_the_metrics_that_suit_them():
    one = npnn.Sequential([npnn.Dense(4, 1), npnn.Sigmoid()], seed=1)
    one.fit(X, C, epochs=1)
    assert set(one.evaluate(X, C, metrics=["f1"])) == {"loss", "accuracy", "f1"}
    words = classifier()
    assert "f1" in words.fit(X, np.array(["no", "yes"])[C], epochs=1, metrics=["f1"])
    squares = npnn.Sequential([npnn.Dense(4, 2), npnn.Softmax()], seed=1)
    squares.fit(X, np.eye(2)[C], epochs=1, loss="rms")
    found = squares.evaluate(X, np.eye(2)[C], metrics=["accuracy", "mae"])
    assert found["accuracy"] == np.mean(squares.predict_class(X) == C)
    copies = npnn.Sequential([npnn.Dense(4, 3), npnn.Dense(3, 4)], seed=1)
    assert "r2" in copies.fit(X, X, epochs=1, metrics=["r2"])


@pytest.mark.parametrize("monitor", ["val_f1", "validation f1", "val_share", "f1", "top_1"])
def test_early_stopping_watches_a_metric(monitor):
    mode = "max" if "share" in monitor else None
    stopping = npnn.EarlyStopping(2, monitor, mode)
    history = classifier(3).fit(
        X, C, epochs=30, metrics=["f1", share, "top 1"], validation_split=0.3, callbacks=[stopping]
    )
    values = history[monitor.replace("validation ", "val_")]
    assert stopping.best == -max(values)  # more is better


def test_a_function_does_not_say_which_way_is_better():
    for callback in (
        npnn.EarlyStopping(2, "val_share"),
        npnn.LearningRateSchedule(npnn.ReduceOnPlateau(), "val_share"),
    ):
        with pytest.raises(ValueError, match="watches 'val_share', a function: say mode='max'"):
            classifier().fit(X, C, metrics=[share], validation_split=0.3, callbacks=[callback])


REFUSED = {
    r"metrics must be a list: write metrics=\['f1'\]": lambda: "f1",
    "write metrics=.share.": lambda: share,
    "metrics: there is no 'f2'; there are accuracy, f1": lambda: ["f2"],
    "did you mean 'precision'": lambda: ["precison"],
    "'mae' compares numbers, and the targets are classes": lambda: ["mae"],
    r"a metric must be a function of \(predictions, targets\), not of \(y\)": lambda: [lambda y: 1],
    r"a metric must be a function of \(predictions, targets\), not 3": lambda: [3],
    "the metric 'lambda' must give a number, not 'x'": lambda: [lambda y, t: "x"],
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_metric_that_is_none_is_refused(message):
    model = classifier()
    for act in (
        lambda: model.fit(X, C, epochs=1, metrics=REFUSED[message]()),
        lambda: model.evaluate(X, C, metrics=REFUSED[message]()),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            act()


def test_metrics_of_classes_need_classes():
    for name in ("f1", "accuracy"):
        with pytest.raises(
            ValueError, match=f"'{name}' is of classes.* mae, mse, rmse, r2, median"
        ):
            regressor().fit(X, T, metrics=[name])
    one = npnn.Sequential([npnn.Dense(4, 1), npnn.Sigmoid()], seed=1)
    with pytest.raises(ValueError, match="'top_5' needs a model that tells one of several"):
        one.fit(X, C, metrics=["top 5"])


def test_two_functions_of_one_name_are_two_metrics():
    history = classifier().fit(X, C, epochs=1, metrics=[lambda y, t: 1, lambda y, t: 2])
    assert (history["lambda"], history["lambda_2"]) == ([1.0], [2.0])


def test_training_that_goes_on_records_the_same_metrics(tmp_path):
    path = tmp_path / "c"
    whole = classifier().fit(X, C, epochs=4, seed=3, metrics=["f1"])
    classifier().fit(X, C, epochs=2, seed=3, metrics=["f1"], callbacks=[npnn.Checkpoint(path)])
    with pytest.raises(ValueError, match=r"recorded the metrics \['f1'\], but .* given \[\]"):
        classifier().fit(X, C, epochs=4, resume=path)
    assert classifier().fit(X, C, epochs=4, metrics=["f1"], resume=path) == whole


def test_data_that_are_streamed_are_measured(monkeypatch):
    monkeypatch.setattr("npnn.backends.backend.Backend.free_memory", lambda self: 10)
    model = classifier(backend="array_api_strict")
    history = model.fit(X, C, epochs=1, metrics=["f1", share])
    assert history["f1"][0] == pytest.approx(model.evaluate(X, C, metrics=["f1"])["f1"])
