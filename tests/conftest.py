"""The backends that work here, as fixtures; a new one joins by being registered."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import pytest

from npnn import backends

hypothesis.settings.register_profile(
    "npnn",
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("npnn")

AVAILABLE = backends.available()


def _parameter(name):
    found = AVAILABLE[name]
    marks = [] if found["works"] else [pytest.mark.skip(reason=found["reason"])]
    if name == "cupy":
        marks.append(pytest.mark.gpu)
    return pytest.param(name, marks=marks)


@pytest.fixture(scope="session", params=[_parameter(name) for name in backends.names()])
def backend_name(request):
    return request.param


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
    return [name for name, found in AVAILABLE.items() if found["works"]]
