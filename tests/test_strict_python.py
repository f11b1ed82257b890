"""Nothing that is usual warns of anything: not where warnings are errors, nor in a shell."""

import subprocess
import sys

import pytest

USUAL = """
import gc, os, sys
import numpy as np
import npnn
from npnn import cli

backend = sys.argv[1]
rng = np.random.default_rng(0)
x, t = rng.standard_normal((40, 6)), rng.integers(0, 3, 40)
layers = [npnn.Dense(6, 8), npnn.Tanh(), npnn.layers.BatchNorm(), npnn.layers.Dropout(0.1)]
model = npnn.Sequential([*layers, npnn.Dense(8, 3), npnn.Softmax()], seed=0, backend=backend)
callbacks = [npnn.callbacks.Checkpoint("c.npnn"), npnn.callbacks.CSVLog("log.csv")]
model.fit(x, t, epochs=2, batch_size=16, validation_split=0.2, callbacks=callbacks)
model.fit(x, t, epochs=3, batch_size=16, validation_split=0.2, resume="c.npnn")
model.predict(x[:5]), model.predict_class(x), model.evaluate(x, t), model.summary(), model.plan(8)
model.save("model.npnn")
again = npnn.load("model.npnn", backend=backend)
optimizer = npnn.Adam()
optimizer.model = again
optimizer.step(x, t)
again.predict(x.tolist())
np.savetxt("table.csv", np.column_stack([x, t]), delimiter=",", header="a,b,c,d,e,f,t", comments="")
options = ["--backend", backend, "--no-pictures", "--output", "out"]
assert cli.main(["train", "table.csv", "--epochs", "2", *options]) == 0
saved = os.path.join("out", "model.safetensors")
assert cli.main(["predict", saved, "table.csv", "--backend", backend]) == 0
assert cli.main(["info", saved]) == 0
del model, again, optimizer
gc.collect()
"""


@pytest.mark.later("array_api_strict", "torch", "jax", "numba")
def test_what_is_usual_warns_of_nothing(backend_name, tmp_path):
    strict = ["-W", "error", "-bb", "-X", "dev"]
    done = subprocess.run(
        [sys.executable, *strict, "-c", USUAL, backend_name],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # Of what is collected, Python tells an error, and goes on.
    assert "Warning" not in done.stderr, done.stderr
    assert "ignored" not in done.stderr, done.stderr


@pytest.mark.parametrize("module", ["npnn", "npnn.backends", "npnn.cli", "npnn.plots"])
def test_an_import_warns_of_nothing(module):
    command = [sys.executable, "-W", "error", "-bb", "-c", f"import {module}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
