"""CuPy's errors, with a stand-in for CuPy where there is no GPU to ask."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

import npnn
from npnn.errors import MissingError


class CUDARuntimeError(RuntimeError):
    pass


def stand_in(devices, driver=13020, built_for=13020):
    """Return a module that answers as CuPy does, on a machine with so many GPUs."""

    def count():
        if devices is None:
            raise CUDARuntimeError(
                "cudaErrorInsufficientDriver: CUDA driver version is insufficient"
            )
        return devices

    cupy = ModuleType("cupy")
    cupy.cuda = SimpleNamespace(
        runtime=SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            getDeviceCount=count,
            getDevice=lambda: 0,
            driverGetVersion=lambda: driver,
            runtimeGetVersion=lambda: built_for,
        ),
        Device=lambda number: SimpleNamespace(id=number),
    )
    return cupy


@pytest.fixture
def machine(monkeypatch):
    """A function that makes this a machine with CuPy and some GPUs."""

    def make(*args, **options):
        monkeypatch.setitem(sys.modules, "cupy", stand_in(*args, **options))
        xp = ModuleType("array_api_compat.cupy")
        xp.float32 = "float32"
        monkeypatch.setitem(sys.modules, "array_api_compat.cupy", xp)

    return make


def refusal(**options):
    with pytest.raises(MissingError) as caught:
        npnn.backends.get("cupy", **options)
    assert npnn.backends.available()["cupy"]["works"] is False
    return str(caught.value)


def test_without_a_driver_the_cpu_is_pointed_to(machine):
    machine(None, driver=0)
    message = refusal()
    assert "no driver is found" in message
    assert "backend='numpy'" in message


def test_cupy_for_a_newer_cuda_than_the_driver_s_is_named_with_the_remedy(machine):
    machine(None, driver=12040)
    message = refusal()
    assert "CuPy for CUDA 13.2" in message
    assert "CUDA 12.4 at most" in message
    assert "npnn-xp[cupy-cuda12]" in message


@pytest.mark.parametrize("devices", [0, None])
def test_a_driver_without_a_gpu_is_said_to_be_one(machine, devices):
    machine(devices)
    assert "CUDA_VISIBLE_DEVICES" in refusal()


def test_a_gpu_that_does_not_exist_is_refused_with_those_that_do(machine):
    machine(2)
    for device in (2, "cuda:7", "gpu", "cuda:x", -1):
        with pytest.raises(ValueError, match=r"cuda:0.*cuda:1.*not"):
            npnn.backends.get("cupy", device=device)


def test_a_gpu_is_chosen_by_number_or_name(machine):
    machine(2)
    for device, number in ((None, 0), ("cuda", 0), (1, 1), ("cuda:1", 1), (0, 0)):
        assert npnn.backends.get("cupy", device=device).device.id == number


def test_a_cupy_that_does_not_load_says_why(monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "cupy":
                raise ImportError("libcudart.so.13: cannot open shared object file")

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert "libcudart.so.13" in refusal()
