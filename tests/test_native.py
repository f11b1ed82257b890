"""Steps of machine code alone: its pieces, and the threads that share them."""

import importlib.util
import os
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_capture import MNIST, classifier

import npnn
from npnn.backends import tuning
from npnn.backends.cpu import threads
from npnn.backends.recording.capture import CapturedStep

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("numba") is None or threads.blas() is None,
    reason="Numba is not installed, or the library beneath NumPy's products not known",
)


# Pieces ------------------------------------------------------------------------------------------

SIZES = st.integers(1, 7)
LIES = st.sampled_from(["rows", "columns", "part", "part of columns", "every second"])


def lying(shape, how, dtype, rng):
    """Return a matrix of random numbers that lies in memory in some way."""
    rows, columns = shape
    if how in ("columns", "part of columns"):
        return lying((columns, rows), how.replace("columns", "rows"), dtype, rng).T
    if how.startswith("part"):
        return rng.standard_normal((rows + 2, columns + 3)).astype(dtype)[1:-1, 2:-1]
    if how == "every second":
        return rng.standard_normal((rows, 2 * columns)).astype(dtype)[:, ::2]
    return rng.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(SIZES, SIZES, SIZES, LIES, LIES, LIES, st.integers(0, 9))
def test_products_are_those_of_numpy(dtype, m, k, n, of_a, of_b, of_out, seed):
    from npnn.backends.cpu import native

    rng = np.random.default_rng(seed)
    a, b = lying((m, k), of_a, dtype, rng), lying((k, n), of_b, dtype, rng)
    out = lying((m, n), of_out, dtype, rng)
    around = out if out.base is None else out.base
    before, inside = around.copy(), out.copy()
    pieces = native.product(a, b, out)
    if pieces is None:
        assert "every second" in (of_a, of_b, of_out)
        return
    native.Program(pieces)()
    np.testing.assert_allclose(out, a @ b, rtol=1e-5, atol=1e-5)
    out[...] = inside
    np.testing.assert_array_equal(around, before)


@pytest.mark.parametrize(("a", "b"), [((5,), (5, 3)), ((4, 5), (5,)), ((2, 4, 5), (2, 5, 3))])
def test_products_with_vectors_and_of_stacks_are_those_of_numpy(a, b):
    from npnn.backends.cpu import native

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(a), rng.standard_normal(b)
    out = np.empty_like(a @ b)
    native.Program(native.product(a, b, out))()
    np.testing.assert_allclose(out, a @ b, rtol=1e-13)


def test_what_cblas_cannot_multiply_is_left_to_numpy():
    from npnn.backends.cpu import native

    whole, numbers = np.ones((2, 2)), np.ones((2, 2), np.int64)
    assert native.product(numbers, numbers, numbers) is None
    assert native.product(whole, whole, np.ones((2, 2), np.float32)) is None
    assert native.product(np.ones((2, 0)), np.ones((0, 2)), whole) is None
    assert native.product(np.ones((2, 2, 2, 2)), whole, np.ones((2, 2, 2, 2))) is None
    assert native.product(*[np.ones((tuning.MOST_PRODUCTS + 1, 2, 2))] * 3) is None


def test_rows_are_taken_by_number_and_arrays_copied():
    from npnn.backends.cpu import native

    rng = np.random.default_rng(0)
    x, numbers = rng.standard_normal((9, 2, 3)), np.array([8, 0, 3, 3])
    out = np.empty((4, 2, 3))
    native.Program(native.taken(out, x, numbers))()
    np.testing.assert_array_equal(out, x[numbers])
    copy = np.empty_like(x)
    native.Program(native.copied(copy, x))()
    np.testing.assert_array_equal(copy, x)
    assert native.copied(copy, x.astype(np.float32)) is None
    assert native.taken(out, x[:, ::-1], numbers) is None


@pytest.mark.parametrize("lies", [0, 1, 2])
def test_arrays_are_copied_and_summed_however_they_lie(lies):
    from npnn.backends.cpu import native

    rng = np.random.default_rng(0)
    whole = rng.standard_normal((5, 6, 7, 4))
    windows = np.lib.stride_tricks.sliding_window_view(whole, (3, 2), (1, 2))
    target = np.moveaxis(np.empty(np.moveaxis(windows, -1, lies).shape), lies, -1)
    for source in (windows, windows[::-1, :, ::-1], windows[:1], np.array(3.0)):
        native.Program(native.copied(target, source))()
        np.testing.assert_array_equal(target, np.broadcast_to(source, target.shape))
    total = np.moveaxis(np.empty(np.moveaxis(windows[0], -1, lies).shape), lies, -1)
    native.Program(native.added_up(windows, total))()
    np.testing.assert_allclose(total, windows.sum(0), rtol=1e-12)
    assert native.added_up(windows, total[:1]) is None


def test_calls_of_machine_code_in_a_row_become_one():
    from npnn.backends.cpu import native

    x, y, done = np.arange(4.0), np.zeros(4), []
    [piece] = native.copied(y, x)
    calls = native.joined([(piece, ()), (piece, ()), (done.append, (1,)), (piece, ())])
    assert [isinstance(function, native.Program) for function, _ in calls] == [True, False, True]
    for function, arguments in calls:
        function(*arguments)
    np.testing.assert_array_equal(y, x)
    assert done == [1]


# Threads -----------------------------------------------------------------------------------------


@pytest.fixture(params=[2, 3], ids=["two threads", "three threads"])
def several(request, monkeypatch):
    """With small steps divided as large ones are."""
    monkeypatch.setattr(CapturedStep, "threads_for", lambda *_: request.param)
    monkeypatch.setattr(tuning, "LARGE", 4)
    return request.param


@pytest.fixture
def steps(monkeypatch):
    """The steps of machine code that have run."""
    from npnn.backends.cpu.team import Step

    run, seen = Step.__call__, []

    def running(self):
        seen.append(self)
        run(self)

    monkeypatch.setattr(Step, "__call__", running)
    return seen


def model_for(optimizer, **options):
    layers = [npnn.Dense(6, 8), npnn.ReLU(), npnn.Dense(8, 9), npnn.Tanh(), npnn.Dense(9, 3)]
    model = npnn.Sequential([*layers, npnn.Softmax()], dtype="float64", seed=3, **options)
    model.chain = npnn.CrossEntropyLoss()
    optimizer.model = model
    return model


def parameters_after(optimizer, count, **options):
    """Return the parameters of a model after some steps, on batches of several sizes."""
    model, rng = model_for(optimizer, **options), np.random.default_rng(0)
    for number in range(count):
        size = 7 if number % 3 else 5
        x, t = rng.standard_normal((size, 6)), np.eye(3)[rng.integers(3, size=size)]
        optimizer.step(x, t)
    return np.concatenate([np.ravel(layer.w) for layer in model.layers if hasattr(layer, "w")])


@pytest.mark.parametrize("columns", [False, True], ids=["by samples", "by columns"])
def test_threads_train_a_model_together_as_it_trains_uncaptured(
    several, columns, steps, monkeypatch
):
    if columns:
        monkeypatch.setattr(tuning, "COLUMNS", 2)
        monkeypatch.setattr(tuning, "WEIGHTS", 4)
    ours = parameters_after(npnn.Adam(alpha=1e-2), 30, backend="numba")
    assert len(steps) == 30
    assert {step.threads for step in steps} == {several}
    assert {len(step.programs) > 3 for step in steps} == {columns}
    theirs = parameters_after(npnn.Adam(alpha=1e-2), 30, capture=False)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_a_model_of_the_size_of_mnist_is_trained_by_machine_code_alone(steps, monkeypatch):
    monkeypatch.setattr(threads, "count", lambda: 2)
    weights = []
    for options in ({"backend": "numba"}, {"capture": False}):
        optimizer, batches = classifier(**MNIST, dtype="float64", **options)
        for _ in range(5):
            optimizer.step(*next(batches))
        weights.append(np.asarray(optimizer.model.layers[0].w))
    assert len(steps) == 5
    np.testing.assert_allclose(*weights, rtol=0, atol=1e-9)


def step_of_sums(count, phases):
    """Return a step in which each thread adds what all have made in the phase before."""
    from npnn.backends.cpu import native, team

    rows = np.ones((phases + 1, count))
    pieces = []
    for phase in range(phases):
        ones = np.ones((count, 1))
        row, sums = rows[phase : phase + 1], rows[phase + 1].reshape(1, count)
        pieces.append([native.product(row, ones, sums[:, n : n + 1]) for n in range(count)])
    return team.Step(pieces, {}, {}), rows


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_each_phase_begins_when_all_are_through_with_the_one_before(count):
    step, rows = step_of_sums(count, 6)
    for _ in range(200):
        rows[1:] = 0
        step()
        np.testing.assert_array_equal(rows[-1], float(count) ** 6)


def test_threads_that_went_to_sleep_are_woken():
    from npnn.backends.cpu.machine import ASLEEP, LINE, STATES
    from npnn.backends.cpu.team import Team

    step, rows = step_of_sums(2, 3)
    for _ in range(3):
        rows[1:] = 0
        step()
        np.testing.assert_array_equal(rows[-1], 8.0)
        until = time.monotonic() + 600.0
        while Team.waiting.read(STATES + LINE) != ASLEEP and time.monotonic() < until:
            time.sleep(1e-3)
        assert Team.waiting.read(STATES + LINE) == ASLEEP


def test_a_step_runs_alone_where_another_one_has_the_threads():
    step, rows = step_of_sums(2, 4)
    inside = threading.Thread(target=threads.run_phases, args=([[step, None]],))
    inside.start()
    inside.join()
    np.testing.assert_array_equal(rows[-1], 16.0)


def test_two_trainings_at_once_do_not_disturb_each_other(several):
    expected = parameters_after(npnn.Adam(alpha=1e-2), 60, backend="numba")
    found = {}

    def train(number):
        found[number] = parameters_after(npnn.Adam(alpha=1e-2), 60, backend="numba")

    trainings = [threading.Thread(target=train, args=(number,)) for number in range(2)]
    for training in trainings:
        training.start()
    for training in trainings:
        training.join()
    for number in range(2):
        np.testing.assert_allclose(found[number], expected, rtol=1e-12)


def test_ctrl_c_between_the_start_of_a_step_and_its_work_leaves_no_thread_at_it(monkeypatch):
    from npnn.backends.cpu import team

    step, rows = step_of_sums(3, 4)
    step()

    def interrupted(*_):
        raise KeyboardInterrupt

    members = team.Team.waiting
    with monkeypatch.context() as patch:
        patch.setattr(team, "work", interrupted)
        with pytest.raises(KeyboardInterrupt):
            step()
    assert not members.at_work()
    rows[1:] = 0
    step()
    assert team.Team.waiting is not members
    np.testing.assert_array_equal(rows[-1], 81.0)


def test_ctrl_c_twice_in_a_row_is_made_good_by_the_next_step(monkeypatch):
    from npnn.backends.cpu import team

    step, rows = step_of_sums(2, 4)
    step()
    members = team.Team.waiting

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(team, "work", interrupted)
        patch.setattr(threads, "at_any_rate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            step()
    assert members.at_work()  # it waits for the others
    rows[1:] = 0
    step()
    np.testing.assert_array_equal(rows[-1], 16.0)
    assert not members.at_work()
    assert team.Team.started == [team.Team.waiting]


def test_a_batch_is_not_kept_after_the_step(several, steps):
    optimizer = npnn.Adam()
    model_for(optimizer, backend="numba")
    x, t = np.ones((6, 6)), np.eye(3)[[0, 1, 2, 0, 1, 2]]
    gone = weakref.ref(x)
    optimizer.step(x, t)
    del x
    assert len(steps) == 1
    assert gone() is None


def test_without_numbas_compiler_a_step_is_that_of_numpy():
    program = """if True:
        import numpy as np, npnn
        model = npnn.Sequential([npnn.Dense(2, 3), npnn.Tanh()], backend="numba", seed=0)
        model.chain, optimizer = npnn.RMSLoss(), npnn.Adam()
        optimizer.model = model
        optimizer.step(np.ones((4, 2)), np.zeros((4, 3)))
        """
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=600)


ENDING = """
import os, sys, threading
sys.path.insert(0, os.path.dirname(sys.argv[1]))
from test_native import step_of_sums
step, rows = step_of_sums(3, 3)
step()
import atexit
from npnn.backends.cpu.team import Team
team = Team.waiting
assert team.at_work()
atexit._run_exitfuncs()
assert Team.waiting is None
assert not team.at_work()
"""


def test_threads_end_with_the_process():
    subprocess.run([sys.executable, "-c", ENDING, __file__], check=True, timeout=600)


FORKING = """
import os, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
from test_native import step_of_sums
step, rows = step_of_sums(2, 3)
step()
if os.fork() == 0:
    rows[1:] = 0
    step()
    os._exit(int(rows[-1, 0]))
_, status = os.wait()
assert os.waitstatus_to_exitcode(status) == 8
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_has_threads_of_its_own():
    command = [sys.executable, "-W", "ignore", "-c", FORKING, __file__]
    subprocess.run(command, check=True, timeout=600)
