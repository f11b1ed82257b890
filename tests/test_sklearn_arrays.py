"""Estimators where scikit-learn's array_api_dispatch lets arrays stay on their device.

SciPy reads whether it is to follow when it is imported, so that each test is a process of its own.
"""

import os
import subprocess
import sys

import pytest

CODE = """
import sys
import warnings

import numpy as np
import sklearn
from sklearn.datasets import load_diabetes, load_iris
from sklearn.metrics import accuracy_score, r2_score

from npnn.arrays import array_namespace, device
from npnn.backends.host import host_array
from npnn.sklearn import NetworkClassifier, NetworkRegressor

library, backend, where = sys.argv[1:]
if library == "torch":
    import torch as xp
elif library == "cupy":
    import cupy as xp
else:
    import array_api_strict as xp
    where = xp.Device(where)
at = {} if library == "cupy" else {"device": where}
sklearn.set_config(array_api_dispatch=True)
quick = {"hidden": (8,), "epochs": 3, "alpha": 0.01, "random_state": 0}
learnt = quick | {"epochs": 15, "alpha": 0.03}
warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)


def is_there(array):
    same = array_namespace(array) is array_namespace(x) and device(array) == device(x)
    assert same, (type(array), device(array))
    return host_array(array)


X, Y = load_iris(return_X_y=True)
w = np.linspace(0.5, 1.5, 150)
x, y = xp.asarray(X, **at), xp.asarray(Y, **at)
ours = NetworkClassifier(early_stopping=True, **quick).fit(x, y, xp.asarray(w, **at))
assert ours.model_.backend.name == backend, ours.model_.backend
theirs = NetworkClassifier(early_stopping=True, **quick).fit(X, Y, w)
assert type(theirs.predict(X)) is np.ndarray
np.testing.assert_array_equal(is_there(ours.predict(x)), theirs.predict(X))
for of in ("predict_proba", "predict_log_proba"):
    found = is_there(getattr(ours, of)(x))
    np.testing.assert_allclose(found, getattr(theirs, of)(X), rtol=1e-4, atol=1e-6)
assert abs(ours.score(x, y) - theirs.score(X, Y)) < 1e-6  # float32

names = load_iris().target_names[Y]  # which no other library has arrays of
words = NetworkClassifier(**learnt).fit(x, names)
assert set(words.predict(x)) == {"setosa", "versicolor", "virginica"}
several = np.stack([X[:, 0] > 5.8, X[:, 2] > 3.0], axis=1).astype(int)
labels = NetworkClassifier(**learnt).fit(x, xp.asarray(several, **at)).predict(x)
assert (is_there(labels) == several).mean() > 0.9
parts = NetworkClassifier(**quick)
for _ in range(2):
    parts.partial_fit(x, y, classes=xp.asarray([0, 1, 2], **at))
is_there(parts.predict(x))
elsewhere = NetworkClassifier(backend="numpy", **quick).fit(x, y)
assert elsewhere.model_.backend.name == "numpy"
is_there(elsewhere.predict(x))

X, Y = load_diabetes(return_X_y=True)
x, y = xp.asarray(X, **at), xp.asarray(Y, **at)
for options in ({}, {"optimizer": "lbfgs"}, {"standardize": False, "dtype": "float32"}):
    ours = NetworkRegressor(**quick | options).fit(x, y)
    theirs = NetworkRegressor(**quick | options).fit(X, Y)
    np.testing.assert_allclose(is_there(ours.predict(x)), theirs.predict(X), rtol=0.02, atol=2.0)
    assert abs(ours.score(x, y) - theirs.score(X, Y)) < 0.01
try:
    ours.predict(X)
except ValueError as error:
    assert "NetworkRegressor.predict() must use the same namespace" in str(error), error
else:
    raise AssertionError("arrays of another library than fit's were taken")
"""


def run(*arguments):
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CODE, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("library", "backend", "where"),
    [
        ("torch", "torch", "cpu"),
        ("array_api_strict", "array_api_strict", "CPU_DEVICE"),
        ("array_api_strict", "numpy", "device1"),  # which no backend has
    ],
)
@pytest.mark.later("CPU_DEVICE")
def test_an_estimator_stays_where_its_data_are(library, backend, where):
    pytest.importorskip(library)
    run(library, backend, where)


@pytest.mark.gpu
def test_an_estimator_stays_on_the_gpu():
    pytest.importorskip("cupy")
    run("cupy", "cupy", "cuda")
