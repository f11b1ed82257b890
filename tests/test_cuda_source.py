"""The kernels that are generated for a GPU, compiled by NVIDIA's own compiler."""

import numpy as np
import nvrtc
import pytest
import stand_in_gpu as gpu
from test_capture import model_of, trained
from test_cupy_plan import MODELS, classifier, lenet5, trainer

from npnn.backends import cuda

pytestmark = pytest.mark.skipif(
    nvrtc.library() is None, reason="NVIDIA's compiler is not installed: nvidia-cuda-nvrtc"
)


@pytest.fixture
def sources(monkeypatch):
    """The sources of all kernels that are asked for; none is run."""
    found = []

    class RawModule:
        def __init__(self, code, options=()):
            assert options == cuda.OPTIONS
            found.append(code)

        def get_function(self, name):
            assert f" {name}(" in found[-1]
            return lambda grid, block, arguments: None

    monkeypatch.setattr(gpu, "RawModule", RawModule)
    gpu.installed(monkeypatch)
    return found


def check(sources):
    assert sources
    for source in sources:
        assert nvrtc.errors(source) == ""


def test_the_compiler_finds_an_error():
    assert "undefined" in nvrtc.errors("__global__ void k() { x = 1; }")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_kernels_of_every_layer_loss_and_optimizer_compile(dtype, sources):
    for kinds, loss, optimizer in MODELS:
        model = model_of(kinds, loss, backend="cupy", dtype=dtype, seed=1)
        trained(model, loss(), optimizer(alpha=1e-5), 1)
    check(sources)


@pytest.mark.parametrize("make", [lenet5, classifier])
@pytest.mark.parametrize("precision", [None, "float16"])
def test_the_kernels_of_a_network_compile(make, precision, sources):
    optimizer, batches = trainer(make, "cupy", precision=precision)
    optimizer.step(*batches[0])
    optimizer.model.predict(np.asarray(batches[0][0]))
    check(sources)
