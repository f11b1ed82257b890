"""Threads side by side: phases in order, errors where the work was given, nobody left behind."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from test_capture import XOR, classifier

from npnn.backends.cpu import threads
from npnn.backends.recording.capture import CapturedStep

pytestmark = pytest.mark.skipif(
    threads.blas() is None, reason="the library beneath NumPy's products is not known"
)


def recorded(phases=3, count=3):
    """Return phases of tasks, and the list to which each adds its number and its thread."""
    done = []

    def task(phase, number):
        return lambda: done.append((phase, number, threading.get_ident()))

    return [[task(phase, number) for number in range(count)] for phase in range(phases)], done


def test_each_task_is_done_once_each_phase_after_the_one_before():
    phases, done = recorded()
    threads.run_phases(phases)
    assert [phase for phase, _, _ in done] == sorted(phase for phase, _, _ in done)
    assert {(phase, number) for phase, number, _ in done} == {
        (phase, number) for phase in range(3) for number in range(3)
    }
    of_thread = [{ident for _, n, ident in done if n == number} for number in range(3)]
    assert all(len(idents) == 1 for idents in of_thread)
    assert len(set.union(*of_thread)) == 3
    assert of_thread[0] == {threading.get_ident()}


def test_a_phase_may_leave_threads_without_a_task():
    phases, done = recorded(phases=3, count=2)
    phases[0][1] = phases[1][0] = phases[2][1] = None
    threads.run_phases(phases)
    assert [(phase, number) for phase, number, _ in done] == [(0, 0), (1, 1), (2, 0)]


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("phase", [0, 1])
def test_an_error_is_raised_where_the_work_was_given_and_the_next_work_is_done(phase, number):
    def fail():
        raise FloatingPointError("on purpose")

    phases, done = recorded()
    phases[phase][number] = fail
    with pytest.raises(FloatingPointError, match="on purpose"):
        threads.run_phases(phases)
    assert all(n != number for p, n, _ in done if p > phase)
    phases, done = recorded()
    threads.run_phases(phases)
    assert len(done) == 9


def test_ctrl_c_leaves_no_thread_at_work():
    begun, left = threading.Event(), threading.Event()

    def long():
        begun.set()
        threading.Event().wait(0.05)
        left.set()

    def interrupted():
        begun.wait()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        threads.run_phases([[interrupted, long], [None, pytest.fail]])
    assert left.is_set()
    phases, done = recorded()
    threads.run_phases(phases)
    assert len(done) == 9


def test_ctrl_c_twice_in_a_row_is_made_good_by_the_next_work(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threads, "at_any_rate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            threads.run_phases([[interrupted, lambda: None], [None, pytest.fail]])
    left = [crew for crew in threads.Helpers.started if crew is not threads.Helpers.waiting]
    assert left
    phases, done = recorded()
    threads.run_phases(phases)
    assert len(done) == 9
    assert not any(crew.at_work() for crew in left)
    assert threads.Helpers.started == [threads.Helpers.waiting]


def test_ctrl_c_does_not_keep_from_what_must_come_to_its_end():
    tried = []

    def interrupted_twice():
        tried.append(1)
        if len(tried) < 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        threads.at_any_rate(interrupted_twice)
    assert len(tried) == 3


def test_fewer_threads_may_work_after_more():
    for count in (3, 2, 3, 2):
        phases, done = recorded(count=count)
        threads.run_phases(phases)
        assert len(done) == 3 * count


def test_who_comes_while_others_are_at_work_does_it_alone():
    phases, done = recorded(count=2)
    inside = [[lambda: threads.run_phases(phases), None]]
    threads.run_phases(inside)
    assert len(done) == 6
    assert {ident for _, _, ident in done} == {threading.get_ident()}


def test_settings_for_floating_point_errors_hold_in_every_thread():
    def divide():
        np.ones(1000) / np.zeros(1000)

    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        threads.run_phases([[None, divide]])
    with np.errstate(divide="ignore"):
        threads.run_phases([[divide, divide]])


@pytest.fixture
def library():
    """What NumPy's products are made by, with three threads."""
    library = threads.blas().lib_controllers[0]
    before = library.num_threads
    library.set_num_threads(3)
    yield library
    library.set_num_threads(before)


def test_products_may_use_as_many_threads_as_before(library):
    seen = []
    threads.run_phases([[lambda: seen.append((library.num_threads, threads.count())), None]])
    assert seen == [(1, 3)]
    assert library.num_threads == threads.count() == 3


def test_ctrl_c_before_products_have_their_threads_back_is_made_good(library, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threads, "at_any_rate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            threads.run_phases([[None, None]])
    assert library.num_threads == 1
    threads.run_phases([[None, None]])
    assert library.num_threads == 3


WIDE = {"widths": (784, 1024, 1024, 10), "batch": 256}
FORKING = """
import os
from npnn.backends.cpu import threads
done = []
phases = [[lambda: done.append(0), lambda: done.append(1)]] * 2
threads.run_phases(phases)
if os.fork() == 0:
    done.clear()
    threads.run_phases(phases)
    os._exit(len(done))
_, status = os.wait()
assert os.waitstatus_to_exitcode(status) == 4
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_has_threads_of_its_own():
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKING], check=True, timeout=600)


@pytest.mark.parametrize(
    ("size", "count", "divided"),
    [(XOR, 2, False), (WIDE, 2, True), (WIDE, 4, True), (WIDE, 5, False)],
    ids=["small", "large, two threads", "large, four threads", "large, many threads"],
)
def test_only_a_large_step_is_divided_and_among_few_threads(size, count, divided, monkeypatch):
    monkeypatch.setattr(threads, "count", lambda: count)
    plans, record = [], CapturedStep._record

    def recording(self, *args):
        replay = record(self, *args)
        plans.extend(plan for plan, _ in self.plans.values())
        return replay

    monkeypatch.setattr(CapturedStep, "_record", recording)
    optimizer, batches = classifier(**size)
    optimizer.step(*next(batches))
    assert [plan.draft.division is not None for plan in plans] == [divided]
