"""The counters at the end of a test run; with EMU_STRICT=1 a test fails where a fault is counted."""

import collections
import os

import emulated
import pytest

STRICT = os.environ.get("EMU_STRICT", "0") == "1"
total = collections.Counter()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    before = emulated.faults()
    result = yield
    if STRICT:
        after = emulated.faults()
        new = {name: n for name, n in after.items() if n > before.get(name, 0)}
        assert not new, f"counted by the emulated device: {new}"
    return result


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["emulated"] = emulated.counters()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    total.update(getattr(node, "workeroutput", {}).get("emulated", {}))


def pytest_terminal_summary(terminalreporter):
    total.update(emulated.counters())
    shown = {name: total[name] for name in sorted(total) if not name.startswith("kernel ")}
    terminalreporter.write_line(f"emulated device: {shown}")
