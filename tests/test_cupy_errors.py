"""What CuPy's backend says where there is no GPU for it, with the remedy."""

import pytest
from conftest import WORKING

import npnn

pytestmark = pytest.mark.gpu

try:
    from cupy.cuda import runtime
except ImportError:
    pytest.skip("CuPy does not load here", allow_module_level=True)


def refusal():
    with pytest.raises(npnn.MissingError) as caught:
        npnn.backends.get("cupy")
    assert npnn.backends.available()["cupy"]["works"] is False
    return str(caught.value)


@pytest.fixture
def machine(monkeypatch):
    """A function that has CUDA's runtime see so many GPUs; None if there is no driver for it."""

    def make(devices, driver=13020):
        def count():
            if devices is None:
                raise runtime.CUDARuntimeError(35)  # cudaErrorInsufficientDriver
            return devices

        monkeypatch.setattr(runtime, "getDeviceCount", count)
        monkeypatch.setattr(runtime, "driverGetVersion", lambda: driver)

    return make


def test_without_a_driver_the_cpu_is_pointed_to(machine):
    machine(None, driver=0)
    message = refusal()
    assert "no driver is found" in message
    assert "backend='numpy'" in message


def test_cupy_for_a_newer_cuda_than_the_driver_s_is_named_with_the_remedy(machine, monkeypatch):
    machine(None, driver=12040)
    monkeypatch.setattr(runtime, "runtimeGetVersion", lambda: 13020)
    message = refusal()
    assert "CuPy for CUDA 13.2" in message
    assert "CUDA 12.4 at most" in message
    assert "npnn-xp[cupy-cuda12]" in message


def test_a_driver_that_cannot_be_asked_is_said_to_be_one(machine, monkeypatch):
    machine(0)

    def refuse():
        raise runtime.CUDARuntimeError(999)

    monkeypatch.setattr(runtime, "driverGetVersion", refuse)
    assert "cannot ask for the NVIDIA driver: cudaError" in refusal()


@pytest.mark.parametrize("devices", [0, None])
def test_a_driver_without_a_gpu_is_said_to_be_one(machine, devices):
    machine(devices)
    assert "CUDA_VISIBLE_DEVICES" in refusal()


def test_a_gpu_that_does_not_exist_is_refused_with_those_that_do(machine):
    machine(2)
    for device in (2, "cuda:7", "gpu", "cuda:x", -1):
        with pytest.raises(ValueError, match=r"cuda:0.*cuda:1.*not"):
            npnn.backends.get("cupy", device=device)


@pytest.mark.skipif("cupy" not in WORKING, reason="there is no GPU")
def test_a_gpu_is_chosen_by_number_or_name(machine):
    machine(2)
    for device, number in ((None, 0), ("cuda", 0), (1, 1), ("cuda:1", 1), (0, 0)):
        assert npnn.backends.get("cupy", device=device).device.id == number
