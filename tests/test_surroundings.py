"""Steps of several threads where the system, or who uses it, makes it hard for them."""

import ctypes
import importlib.util
import os
import platform
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import npnn
from npnn.backends.cpu import threads
from npnn.backends.recording.capture import CapturedStep

NUMBA = importlib.util.find_spec("numba") is not None
BACKENDS = ["numpy"] + ["numba"] * NUMBA
known = pytest.mark.skipif(threads.blas() is None, reason="the library of products is not known")
needs_numba = pytest.mark.skipif(
    not NUMBA or threads.blas() is None, reason="Numba, or the library of products, is not there"
)


@pytest.fixture
def divided(monkeypatch):
    """With steps for two threads however small they are."""
    monkeypatch.setattr(CapturedStep, "threads_for", lambda *_: 2)


@pytest.fixture
def teams(monkeypatch):
    """The number of threads of each step that was run side by side."""
    seen, run = [], threads.with_the_others

    def running(side_by_side, *rest):
        def noted():
            seen.append(1)
            side_by_side()

        run(noted, *rest)

    monkeypatch.setattr(threads, "with_the_others", running)
    return seen


@pytest.fixture
def no_threads(monkeypatch):
    """A system that lets no thread be started."""

    def refuse(self):
        raise RuntimeError("can't start new thread")

    end_all()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    yield
    threads._refused.clear()


def end_all():
    """End the threads that wait for work."""
    threads.Helpers.end()
    if NUMBA:
        from npnn.backends.cpu.team import Team

        Team.end()


def fitted(backend, **options):
    """Return the weights and the history of a small model."""
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((48, 6)), np.eye(3)[rng.integers(3, size=48)]
    layers = [npnn.Dense(6, 64), npnn.Tanh(), npnn.Dense(64, 3), npnn.Softmax()]
    model = npnn.Sequential(layers, backend=backend, dtype="float64", seed=0, **options)
    model.fit(x, t, epochs=3, batch_size=16)
    return np.asarray(model.layers[0].w)


@known
@pytest.mark.parametrize("backend", BACKENDS)
def test_where_no_thread_can_be_started_one_does_it_all(backend, divided, no_threads, teams):
    before = threads.blas().lib_controllers[0].num_threads
    np.testing.assert_allclose(fitted(backend), fitted(backend, capture=False), rtol=1e-10)
    assert len(teams) == 1  # it is not tried again
    assert threads.count() == 1
    assert threads.blas().lib_controllers[0].num_threads == before
    assert not threads.Helpers.started


@known
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_limit_that_is_set_after_the_first_step_holds(backend, divided, teams):
    library = threads.blas().lib_controllers[0]
    before = library.num_threads
    library.set_num_threads(2)
    model = npnn.Sequential([npnn.Dense(6, 64), npnn.Tanh()], backend=backend, seed=0)
    model.chain, optimizer = npnn.RMSLoss(), npnn.Adam()
    optimizer.model = model
    x, t = np.ones((16, 6)), np.ones((16, 64))
    try:
        optimizer.step(x, t)
        assert len(teams) == 1
        with threadpool_limits(1, user_api="blas"):
            optimizer.step(x, t)
            assert library.num_threads == 1
        assert len(teams) == 1
        assert library.num_threads == 2
        optimizer.step(x, t)
        assert len(teams) == 2
    finally:
        library.set_num_threads(before)


@needs_numba
def test_more_threads_than_a_word_has_bits_are_woken_all():
    from test_native import step_of_sums

    from npnn.backends.cpu.machine import ASLEEP, LINE, STATES
    from npnn.backends.cpu.team import Team

    step, rows = step_of_sums(70, 2)
    step()
    team = Team.waiting
    for _ in range(60_000):
        if all(team.read(STATES + LINE * number) == ASLEEP for number in range(1, 70)):
            break
        threading.Event().wait(1e-2)
    rows[1:] = 0
    step()
    np.testing.assert_array_equal(rows[-1], 70.0**2)
    Team.end()


# What is only for one system or processor --------------------------------------------------------


@needs_numba
def test_threads_wait_where_a_system_has_no_way_to_doze(monkeypatch):
    from test_native import step_of_sums

    from npnn.backends.cpu import team

    def absent(name):
        raise OSError("no such library")

    with monkeypatch.context() as patch:
        patch.setattr(ctypes, "CDLL", absent)
        patch.setattr(ctypes, "WinDLL", absent, raising=False)
        assert team._ways_to_wait() == (0, 0, 0)
    monkeypatch.setattr(team, "_ways_to_wait", lambda: (0, 0, 0))
    team.Team.end()
    step, rows = step_of_sums(2, 3)
    for _ in range(3):
        rows[1:] = 0
        step()
        np.testing.assert_array_equal(rows[-1], 8.0)
    team.Team.end()


@needs_numba
def test_threads_doze_by_windows_own_function(monkeypatch):
    from npnn.backends.cpu import team

    sleep = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: None)

    class Kernel32:
        def __init__(self, name):
            assert name == "kernel32"
            self.Sleep = sleep

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "WinDLL", Kernel32, raising=False)
    address = ctypes.cast(sleep, ctypes.c_void_p).value
    assert team._ways_to_wait() == (address, address, 1)


@needs_numba
def test_other_processors_look_without_a_pause(monkeypatch):
    from numba import njit

    from npnn.backends.cpu.numba_adapter import pause

    monkeypatch.setattr(platform, "machine", lambda: "riscv64")

    @njit("intp(intp)")
    def looked(x):
        pause()
        return x + 1

    assert looked(1) == 2
    assert "sse2.pause" not in "".join(looked.inspect_llvm().values())


@pytest.mark.parametrize("backend", BACKENDS)
def test_with_another_library_of_products_all_goes_on(backend, monkeypatch):
    monkeypatch.setattr(threads, "blas", lambda: None)
    if backend == "numba":
        from npnn.backends.cpu import native

        native._cblas.cache_clear()
    try:
        np.testing.assert_allclose(fitted(backend), fitted(backend, capture=False), rtol=1e-10)
    finally:
        if backend == "numba":
            native._cblas.cache_clear()


NOBODY = """
import os, pwd, sys
for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "NPNN_CACHE_DIR"):
    os.environ.pop(name, None)

def unknown(*_):
    raise KeyError("no such user")

pwd.getpwuid = pwd.getpwnam = unknown
from npnn import cli
options = ["--epochs", "1", "--no-pictures", "--backend", sys.argv[1]]
assert cli.main(["train", "xor-two-classes", *options]) == 0
assert cli.main(["info", "npnn-output/model.safetensors"]) == 0
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there, users have other folders")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_user_without_a_home_whom_the_system_does_not_know_trains(backend, tmp_path):
    command = [sys.executable, "-W", "error", "-c", NOBODY, backend]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Ctrl-C, and forks -------------------------------------------------------------------------------

STORM = """
import os, signal, sys, threading, time
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import numpy as np
import test_surroundings as t
from npnn.backends.cpu import threads
from npnn.backends.recording.capture import CapturedStep
CapturedStep.threads_for = lambda *_: 2
library = threads.blas().lib_controllers[0]
library.set_num_threads(2)
backend, storms = sys.argv[2], 0
expected = t.fitted(backend, capture=False)
t.fitted(backend)
begin, stop = threading.Event(), threading.Event()

def storm():
    begin.wait()
    while not stop.wait(0.003):
        os.kill(os.getpid(), signal.SIGINT)

shouting = threading.Thread(target=storm, daemon=True)
try:
    shouting.start()
    while storms < 30:
        try:
            begin.set()
            while True:
                t.fitted(backend)
        except KeyboardInterrupt:
            storms += 1
finally:
    while True:
        try:
            begin.set()
            stop.set()
            shouting.join()
            break
        except KeyboardInterrupt:
            pass
assert library.num_threads == 2, library.num_threads
np.testing.assert_allclose(t.fitted(backend), expected, rtol=1e-10)
assert library.num_threads == 2
left = [thread for thread in threading.enumerate() if thread.name.startswith("npnn")]
assert len(left) <= 1, left
time.sleep(0.2)
begun = time.process_time()
time.sleep(0.5)
assert time.process_time() - begun < 0.2, "a thread spins"
print("calm")
"""


@known
@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot interrupt itself there")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_storm_of_ctrl_c_leaves_nothing_behind(backend):
    command = [sys.executable, "-c", STORM, __file__, backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.stdout.endswith("calm\n"), done.stderr


FORKING = """
import os, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
import multiprocessing
import numpy as np
import test_surroundings as t
from npnn.backends.recording.capture import CapturedStep
CapturedStep.threads_for = lambda *_: 2
here = t.fitted(sys.argv[2])
with multiprocessing.get_context("fork").Pool(2) as pool:
    there = pool.map_async(t.fitted, [sys.argv[2]] * 4).get(300)
for weights in there:
    np.testing.assert_array_equal(weights, here)
np.testing.assert_array_equal(t.fitted(sys.argv[2]), here)
"""


@known
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("backend", BACKENDS)
def test_forked_processes_train_as_the_first_does(backend):
    command = [sys.executable, "-W", "ignore", "-c", FORKING, __file__, backend]
    subprocess.run(command, check=True, timeout=600)


def test_ctrl_c_is_what_it_was():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
