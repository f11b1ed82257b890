"""The counters at the end of a test run; with EMU_STRICT=1 a test fails where a fault is found."""

import os
from collections import Counter

import emulated
import pytest

STRICT = os.environ.get("EMU_STRICT", "0") == "1"
total = Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    before = Counter(emulated.faults())
    try:
        result = yield
    finally:
        # A device that a kernel has brought down would fail all other tests, too.
        error = emulated.recover()
    assert not error, f"the device was left with the error {error}"
    if STRICT:
        new = Counter(emulated.faults()) - before
        assert not new, f"counted by the emulated device: {dict(new)}"
    return result


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["emulated"] = dict(emulated.counters())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    total.update(getattr(node, "workeroutput", {}).get("emulated", {}))


def pytest_terminal_summary(terminalreporter):
    total.update(emulated.counters())
    shown = {name: total[name] for name in sorted(total) if not name.startswith("kernel ")}
    terminalreporter.write_line(f"emulated device: {shown}")
