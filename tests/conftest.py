"""The backends that work here, as fixtures; a new one joins by being registered."""

import contextlib
import importlib.metadata
import os
import signal
import sys
import textwrap
from collections import Counter

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # it compiles longer than it runs
with contextlib.suppress(importlib.metadata.PackageNotFoundError):
    # In a sixth of the time. Another version may end at once at a flag that it does not have.
    if importlib.metadata.version("jaxlib").startswith("0.10."):
        flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
        os.environ.setdefault("XLA_FLAGS", flags)
if "PYTEST_XDIST_WORKER" in os.environ:
    # Else the threads of products, which wait awake, take the processors from the other workers.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

from npnn import backends

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell starts what runs beside it
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile(
    "npnn",
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("npnn")

AVAILABLE = backends.available()
WORKING = [name for name, found in AVAILABLE.items() if found["works"]]


def pytest_terminal_summary(terminalreporter):
    for name, found in AVAILABLE.items():
        if not found["works"]:
            reason = textwrap.shorten(found["reason"], 200)
            terminalreporter.write_line(f"not tested on {name}: {reason}")
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", ()))
    for reason, count in reasons.most_common():
        reason = textwrap.shorten(reason.removeprefix("Skipped: "), 100)
        terminalreporter.write_line(f"{count} skipped: {reason}")


def pytest_addoption(parser):
    about = "which cases: those of `make test`, the rest, which seldom tell more, or all"
    parser.addoption("--cases", choices=("usual", "rest", "all"), default="usual", help=about)


def _left(items):
    """Yield what `make test` leaves out: what is marked so, and most that is compiled anew.

    JAX takes the first case of a test, or all of those that are marked ``every_case``. Where
    Numba's loops are run by Python too, by ``captured_on``, they are not compiled.
    """
    seen = set()
    for item in items:
        names = set(item.callspec.id.split("-")) if hasattr(item, "callspec") else set()
        compiled = "numba" in names and "captured_on" in item.fixturenames
        marks = item.iter_markers("later")
        if compiled or any(not mark.args or names & {*mark.args} for mark in marks):
            yield item
        elif "jax" in names and not item.get_closest_marker("every_case"):
            function = item.nodeid.partition("[")[0]
            if function in seen:
                yield item
            seen.add(function)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    cases = config.getoption("cases", "all")
    if cases == "rest" or not (cases == "all" or any("::" in place for place in config.args)):
        left = set(_left(items))
        config.hook.pytest_deselected(
            items=[item for item in items if (item in left) is not (cases == "rest")]
        )
        items[:] = [item for item in items if (item in left) is (cases == "rest")]
    if "cupy" in WORKING:
        for item in items:
            if "working_backends" in item.fixturenames:
                item.add_marker("gpu")


def _parameter(name):
    return pytest.param(name, marks=[pytest.mark.gpu] * (name == "cupy"))


@pytest.fixture(scope="session", params=[_parameter(name) for name in WORKING])
def backend_name(request):
    return request.param


INTERPRETED = ["interpreted"] if "numba" in WORKING else []


@pytest.fixture(params=[*map(_parameter, WORKING), *INTERPRETED])
def captured_on(request, monkeypatch):
    """The name of a backend whose steps are captured; Numba's twice: once Python runs its loops."""
    if request.param != "interpreted":
        return request.param
    from graphs import interpreted

    from npnn.backends.cpu import loops

    monkeypatch.setattr(loops, "_compiled", interpreted)
    return "numba"


@pytest.fixture(scope="session")
def backend(backend_name):
    """A backend in float64."""
    return backends.get(backend_name, "float64")


@pytest.fixture(scope="session")
def backend32(backend_name):
    """A backend in float32."""
    return backends.get(backend_name, "float32")


@pytest.fixture(scope="session")
def working_backends():
    """The names of all backends that work here."""
    return WORKING


# A GPU -------------------------------------------------------------------------------------------


@pytest.fixture(params=["cuBLASLt", "cuBLAS"])
def library(request, monkeypatch):
    """The library of a GPU's matrix products: both, where both are there."""
    if request.param == "cuBLAS":
        monkeypatch.setitem(sys.modules, "nvmath.bindings", None)
    else:
        pytest.importorskip("nvmath.bindings.cublasLt")
    return request.param


@pytest.fixture
def emulated():
    """The emulated device, which counts what is asked of it: from nought on."""
    module = pytest.importorskip("emulated", reason="only the emulated device counts")
    module.reset()
    return module
