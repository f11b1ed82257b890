"""Networks as scikit-learn's estimators: what scikit-learn asks of one, and what its tools do."""

import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import npnn
from npnn import lbfgs
from npnn.layers import Dense, Dropout, ReLU, Sigmoid, Softmax, Tanh
from npnn.sklearn import NetworkClassifier, NetworkRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = load_iris(return_X_y=True)
NAMES = load_iris().target_names[Y]


@parametrize_with_checks([NetworkClassifier(), NetworkRegressor()])
def test_scikit_learn_takes_it_for_one_of_its_own(estimator, check):
    check(estimator)


def quick(**options):
    given = {"hidden": (16,), "epochs": 60, "alpha": 0.01, "random_state": 0}
    return NetworkClassifier(**given | options)


@pytest.mark.parametrize("backend", ["numpy", "numba", "torch"])
def test_labels_are_given_back_as_they_came(backend):
    pytest.importorskip(backend)
    network = quick(backend=backend).fit(X, NAMES)
    assert network.score(X, NAMES) > 0.95
    assert list(network.classes_) == ["setosa", "versicolor", "virginica"]
    np.testing.assert_allclose(network.predict_proba(X).sum(axis=1), 1.0)
    assert isinstance(network.model_, npnn.Sequential)
    assert network.n_iter_ == len(network.loss_curve_) == len(network.history_["loss"])


def test_a_grid_is_searched_in_two_processes():
    pipeline = make_pipeline(StandardScaler(), quick())
    grid = {"networkclassifier__hidden": [(4,), (16,)], "networkclassifier__dropout": [0.0, 0.2]}
    search = GridSearchCV(pipeline, grid, cv=3, n_jobs=2).fit(X, NAMES)
    assert search.best_score_ > 0.9
    assert search.predict(X[:1]) == ["setosa"]


def test_probabilities_are_calibrated_and_cross_validated():
    calibrated = CalibratedClassifierCV(quick(), cv=3).fit(X, Y)
    assert calibrated.score(X, Y) > 0.9
    predicted = cross_val_predict(quick(), X, NAMES, cv=3, method="predict_proba")
    assert predicted.shape == (150, 3)
    assert (predicted.argmax(axis=1) == Y).mean() > 0.9
    importance = permutation_importance(quick().fit(X, Y), X, Y, random_state=0, n_repeats=2)
    assert importance.importances_mean[2:].max() > importance.importances_mean[:2].max()


def test_several_labels_are_each_true_or_not():
    labels = np.stack([X[:, 0] > 5.8, X[:, 2] > 3.0], axis=1).astype(int)
    network = quick().fit(X, labels)
    assert network.predict(X).shape == labels.shape
    assert (network.predict(X) == labels).mean() > 0.95
    assert network.score(X, labels) > 0.9
    assert cross_val_score(quick(), X, labels, cv=3).shape == (3,)


def test_a_regression_without_hidden_units_is_ridge_regression():
    """Both minimise the mean of half the squares, on standardized inputs and targets."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 100.0]
    y = np.stack([1e6 * x[:, 0] - 3e5 * x[:, 1], x[:, 2]], axis=1) + rng.standard_normal((80, 2))
    w = rng.uniform(0.5, 2.0, 80)
    network = NetworkRegressor((), optimizer="lbfgs", weight_decay=0.1, tol=1e-10).fit(x, y, w)
    mean, scale = np.average(x, axis=0, weights=w), None
    scale = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=w))
    means = np.average(y, axis=0, weights=w)
    scales = np.sqrt(np.average((y - means) ** 2, axis=0, weights=w))
    ridge = Ridge(alpha=0.1 * w.sum(), tol=1e-12).fit((x - mean) / scale, (y - means) / scales, w)
    expected = ridge.predict((x - mean) / scale) * scales + means
    np.testing.assert_allclose(network.predict(x), expected, rtol=1e-5, atol=1e-5 * scales.max())
    assert network.predict(x[:, :]).shape == (80, 2)


def test_a_classifier_without_hidden_units_is_logistic_regression():
    """scikit-learn's penalty spares the intercepts: here there is next to none."""
    network = NetworkClassifier((), optimizer="lbfgs", weight_decay=1e-9, tol=1e-7, epochs=2000)
    labels, x = (Y > 1).astype(int), StandardScaler().fit_transform(X)
    logistic = LogisticRegression(C=1e9 / len(X), tol=1e-10, max_iter=10_000).fit(x, labels)
    ours, theirs = network.fit(x, labels).predict_proba(x), logistic.predict_proba(x)
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_l_bfgs_refuses_a_loss_that_changes_by_itself():
    model = npnn.Sequential([Dense(4, 3), Dropout(0.5), Dense(3, 2), Softmax()], seed=0)
    model.chain = npnn.CrossEntropyLoss()
    with pytest.raises(ValueError, match=r"leave out Dropout"):
        lbfgs.fit(model, X, (Y > 1).astype(int))


def test_l_bfgs_ends_lower_than_adam_on_few_samples():
    small = {"hidden": (16,), "random_state": 0, "tol": 1e-6, "epochs": 300}
    labels = (Y > 1).astype(int)
    ours = NetworkClassifier(optimizer="lbfgs", **small).fit(X, labels)
    adam = NetworkClassifier(optimizer="adam", **small).fit(X, labels)
    assert ours.loss_ < adam.loss_


@pytest.mark.parametrize("weights", ["balanced", {"setosa": 1.0, "virginica": 9.0}])
def test_a_rare_class_counts_as_its_weight_says(weights):
    rows = np.r_[0:50, 100:105]
    x, names = X[rows], NAMES[rows]
    each = {"setosa": 55 / 100, "virginica": 55 / 10} if weights == "balanced" else weights
    by_class = quick(class_weight=weights, standardize=False).fit(x, names)
    by_sample = quick(standardize=False).fit(x, names, [each[name] for name in names])
    np.testing.assert_array_equal(by_class.predict_proba(x), by_sample.predict_proba(x))


def test_early_stopping_looks_at_samples_that_are_not_trained_on():
    network = quick(
        early_stopping=True, validation_fraction=0.2, patience=3, epochs=300, tol=0.01
    ).fit(X, Y)
    assert network.n_iter_ < 300
    assert len(network.history_["val_loss"]) == network.n_iter_
    assert network.score(X, Y) > 0.9


def test_a_warm_start_takes_the_rates_of_now_and_no_other_network():
    network = quick(epochs=2, warm_start=True, tol=None).fit(X, Y)
    steps = network.optimizer_.steps
    network.set_params(alpha=1e-30, weight_decay=0.0).fit(X, Y)
    assert (network.optimizer_.alpha, network.optimizer_.weight_decay) == (1e-30, 0.0)
    assert network.optimizer_.steps == 2 * steps
    assert network.loss_curve_[-1] == pytest.approx(network.loss_curve_[-2], 1e-5)
    network.set_params(optimizer="rmsprop").fit(X, Y)
    assert isinstance(network.optimizer_, npnn.RMSprop)
    for name, value in {"hidden": (3,), "activation": "tanh", "dropout": 0.5}.items():
        other = clone(network).set_params(optimizer="adam").fit(X, Y).set_params(**{name: value})
        for goes_on in (other.fit, other.partial_fit):
            with pytest.raises(ValueError, match=f"{name} was .* cannot become .*warm_start=False"):
                goes_on(X, Y)
        other.set_params(warm_start=False).fit(X, Y)


@pytest.mark.parametrize("strange", [None, float("nan"), 3])
def test_labels_that_have_no_order_are_told(strange):
    y = np.array(["a", "b"] * 20, object)
    y[5] = strange
    with pytest.raises(ValueError, match=r"at \(5,\) .* no label|NaN|labels of int and str"):
        quick(epochs=1).fit(np.zeros((40, 2)), y)


def test_a_function_that_makes_no_network_is_told():
    with pytest.raises(TypeError, match="what model gives must be a Sequential"):
        NetworkClassifier(model=lambda features, outputs: None).fit(X, Y)


@pytest.mark.parametrize("how", [{"warm_start": True}, {}])
def test_a_pickled_estimator_trains_on_as_it_would_have(how):
    network = quick(epochs=3, tol=None, **how).fit(X, Y)
    other = pickle.loads(pickle.dumps(network))
    for each in (network, other):
        (each.fit if how else each.partial_fit)(X, Y)
    np.testing.assert_array_equal(other.predict_proba(X), network.predict_proba(X))


def test_a_warm_start_goes_on():
    twice = quick(epochs=3, warm_start=True, tol=None).fit(X, Y)
    first = twice.model_
    twice.fit(X, Y)
    assert twice.model_ is first
    assert twice.n_iter_ == 6
    once = quick(epochs=6, tol=None).fit(X, Y)
    np.testing.assert_array_equal(twice.predict_proba(X), once.predict_proba(X))


def test_a_network_learns_part_by_part():
    network = quick(batch_size=10)
    for _ in range(30):
        for part in range(3):
            network.partial_fit(X[part::3], NAMES[part::3], classes=np.unique(NAMES))
    assert network.score(X, NAMES) > 0.95
    assert network.n_iter_ == 90
    with pytest.raises(ValueError, match=r"not there before: \['tulip'\]"):
        network.partial_fit(X[:1], ["tulip"])
    numbers = NetworkRegressor((8,), random_state=0, alpha=0.01)
    for _ in range(200):
        numbers.partial_fit(X[:, :3], X[:, 3])
    assert numbers.score(X[:, :3], X[:, 3]) > 0.9


def test_a_model_of_ones_own_stands_instead_of_the_hidden_layers():
    own = npnn.Sequential([Dense(4, 8), Tanh(), Dense(8, 3), Softmax()], seed=1, dtype="float64")
    before = own.predict(X[:2])
    network = clone(quick(model=own)).fit(X, NAMES)
    assert network.score(X, NAMES) > 0.9
    np.testing.assert_array_equal(own.predict(X[:2]), before)

    def make(inputs, outputs):
        return npnn.Sequential([Dense(inputs, 8), ReLU(), Dense(8, outputs), Softmax()], seed=1)

    assert quick(model=make).fit(X, NAMES).score(X, NAMES) > 0.9
    with pytest.raises(ValueError, match=r"outputs of shape \(2,\), but y needs \(3,\)"):
        quick(model=lambda inputs, _: make(inputs, 2)).fit(X, NAMES)
    labels = np.stack([X[:, 0] > 5.8, X[:, 2] > 3.0], axis=1).astype(int)
    several = npnn.Sequential([Dense(4, 2), Sigmoid()], seed=1)
    assert quick(model=several, alpha=0.1).fit(X, labels).score(X, labels) > 0.8


def test_a_fitted_network_is_written_and_read(tmp_path):
    network = quick(epochs=5).fit(X, NAMES)
    joblib.dump(network, tmp_path / "network.joblib")
    again = joblib.load(tmp_path / "network.joblib")
    np.testing.assert_array_equal(again.predict(X), network.predict(X))
    network.model_.save(tmp_path / "network.safetensors")
    alone = npnn.load(tmp_path / "network.safetensors")
    np.testing.assert_allclose(alone.predict(X), network.predict_proba(X), rtol=1e-12)


def test_weights_are_routed_through_a_pipeline():
    with config_context(enable_metadata_routing=True):
        network = quick().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), network)
        pipeline.fit(X, Y, sample_weight=np.where(Y == 2, 0.0, 1.0))
        assert not (pipeline.predict(X) == 2).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "rellu"}, r"activation must be one of relu, .* not 'rellu'"),
        (
            {"optimizer": "adma"},
            r"optimizer must be one of adam, .*lbfgs or an Optimizer, not 'adma'",
        ),
        ({"batch_size": "all"}, r"batch_size must be one of auto or a number, not 'all'"),
    ],
)
def test_a_wrong_parameter_is_said_at_fit(options, message):
    with pytest.raises(ValueError, match=message):
        quick(**options).fit(X, Y)


@pytest.mark.parametrize("name", sorted(set(NetworkRegressor().get_params()) - {"backend"}))
def test_a_parameter_of_the_wrong_kind_is_said_at_fit_in_one_line(name):
    wide = np.arange(900).reshape(300, 3)
    for junk in ("no", float("nan"), object(), b"x", [1, "x"], wide, {"a": 1}):
        estimator = NetworkRegressor(**{"epochs": 1, name: junk})
        with pytest.raises((TypeError, ValueError), match=rf"^{name}\b") as caught:
            estimator.fit(X, Y)
        assert "\n" not in str(caught.value)
        assert not hasattr(estimator, "model_") or name == "callbacks"  # fit looks into the list


def test_numbers_of_numpy_and_a_width_alone_are_parameters():
    options = {"epochs": np.int64(2), "alpha": np.float32(0.01), "standardize": np.True_}
    one = quick(hidden=np.int64(8), verbose=0, **options).fit(X, Y)
    assert one.model_.layers[0].shape_out == (8,)
    np.testing.assert_array_equal(
        one.predict_proba(X), quick(hidden=[8], **options).fit(X, Y).predict_proba(X)
    )


def test_npnn_alone_imports_no_scikit_learn():
    code = "import npnn, sys; assert 'sklearn' not in sys.modules and 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_digits_are_read_at_least_as_well_as_by_scikit_learns_own():
    x, y = load_digits(return_X_y=True)
    assert cross_val_score(quick(hidden=(32,)), x, y, cv=3).mean() > 0.92


@pytest.mark.parametrize(
    ("options", "rows", "expected"),
    [
        ({}, 600, "float32"),
        ({}, 100, "float64"),  # a step takes as long
        ({"optimizer": "lbfgs"}, 600, "float64"),
        ({"optimizer": "lbfgs", "dtype": "float32"}, 600, "float32"),
        ({"dtype": "float64"}, 600, "float64"),
    ],
)
def test_a_network_computes_in_what_its_training_needs(options, rows, expected):
    x, y = load_digits(return_X_y=True)
    network = quick(hidden=(8,), **{"epochs": 2} | options).fit(x[:rows], y[:rows])
    assert network.model_.dtype == expected
    assert network.predict_proba(x[:2]).dtype == expected


def test_values_that_float32_does_not_tell_apart_are_told_apart():
    x = np.random.default_rng(0).standard_normal((6000, 3))
    y = (x[:, 0] > 0).astype(int)
    far = quick(standardize=False, epochs=1).fit(x + 1e9, y)
    assert far.model_.dtype == "float64"
    assert quick(epochs=3).fit(x + 1e6, y).score(x + 1e6, y) > 0.95


def test_training_ends_where_the_loss_falls_too_little_for_classes():
    x, y = load_digits(return_X_y=True)
    one = quick(epochs=200).fit(x[:600], y[:600])
    assert one.n_iter_ < 100
    loss = one.loss_curve_
    assert loss[-11] - min(loss[-10:]) <= 5e-3
    assert quick(tol=1e-5, epochs=one.n_iter_ + 5).fit(x[:600], y[:600]).n_iter_ > one.n_iter_


@pytest.mark.parametrize("kind", [NetworkClassifier, NetworkRegressor])
@pytest.mark.parametrize(
    ("name", "right"),
    [("max_iter", "epochs"), ("hidden_layer_sizes", "hidden"), ("solver", "optimizer"),
     ("learning_rate_init", "alpha"), ("n_iter_no_change", "patience"), ("l2", "weight_decay")],
)  # fmt: skip
def test_an_argument_of_scikit_learns_own_networks_is_told(kind, name, right):
    with pytest.raises(
        TypeError, match=f"^{kind.__name__} has no argument '{name}': write {right}$"
    ):
        kind(**{name: 1})
