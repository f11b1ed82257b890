"""Trainings that are killed and resumed end, bit for bit, as one that was never stopped.

``NPNN_RESUMES=200`` does so with as many trainings, instead of some.
"""

import os
import subprocess
import sys

import pytest

RESUMES = int(os.environ.get("NPNN_RESUMES", "3"))

TRAINING = """
import os, random, signal, sys, time
import numpy as np
import npnn

folder, number = sys.argv[1], int(sys.argv[2])
os.chdir(folder)
rng = np.random.default_rng(0)
X = rng.normal(size=(160, 6))
T = (X[:, 0] * X[:, 1] > 0).astype(int)
EPOCHS = 40

def fit(name, resume=None):
    layers = [npnn.Dense(6, 16), npnn.BatchNorm(), npnn.ReLU(), npnn.Dropout(0.2)]
    model = npnn.Sequential([*layers, npnn.Dense(16, 2), npnn.Softmax()], seed=1)
    stopping = npnn.EarlyStopping(25, min_delta=1e-3)
    rate = npnn.LearningRateSchedule(npnn.ReduceOnPlateau(0.5, 3), monitor="val_loss")
    history = model.fit(
        X, T, epochs=EPOCHS, batch_size=32, validation_split=0.2,
        optimizer=npnn.Adam(0.02, clip_norm=1.0, schedule=npnn.Cosine(200, warm_up=5)),
        callbacks=[npnn.Checkpoint(name), stopping, rate, npnn.CSVLog(name + ".csv")],
        resume=resume,
    )
    arrays = {**model.parameters(), **model.state()}
    result = [a.tobytes() for a in arrays.values()], dict(history), stopping.get_state()
    # What was complete when it was killed says so; all else is the same.
    return [*map(repr, result), repr(rate.get_state()), open(name + ".csv").read()]

expected = fit("whole")
start = time.perf_counter()
fit("again")
whole = time.perf_counter() - start
chance, kills = random.Random(number), 0
for training in range(number):
    name = f"{training}.checkpoint"
    while True:
        child = os.fork()
        if child == 0:
            try:
                resume = name if os.path.exists(name) else None
                found = fit(name, resume)
                for ours, theirs in zip(found, expected, strict=True):
                    assert ours == theirs, f"{ours[:2000]} is not {theirs[:2000]}"
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(2)
            os._exit(0)
        time.sleep(chance.uniform(0.0, 0.7 * whole))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, (training, kills, os.WEXITSTATUS(status))
            break
        kills += 1
        left = [file for file in os.listdir() if file.endswith(".tmp") and name in file]
        assert len(left) <= 2, left
    assert not [file for file in os.listdir() if name + ".0.tmp" in file]
print(number, kills)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_training_that_is_killed_and_resumed_ends_as_one_that_was_not(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, str(tmp_path), str(RESUMES)],
        capture_output=True,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    trainings, kills = map(int, done.stdout.split())
    print(f"{trainings} trainings, killed {kills} times")
    assert trainings == RESUMES
    assert kills >= RESUMES // 2
