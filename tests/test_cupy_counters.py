"""What a step on a GPU costs: kernels, launches, copies and waits, as the emulated device counts.

What is the plan's choice stands in the tables; a better plan changes them.
"""

import functools
import sys

import pytest
from on_gpu import classifier, dense, lenet5, on, table, trainer

import npnn
from npnn import batches as data_batches

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("at_once")]


@pytest.fixture
def at_once(emulated):
    """What is put on a stream is done at once; later, more memory would be needed."""
    with emulated.mode("eager"):
        yield


# Kernels and products of a step: what comes in, the last layer with the loss, two rectifiers back,
# Adam, what goes out; biases and rectifiers ride on products of cuBLASLt.
NODES = {
    "xor": (6, 8),
    "small": (6, 8),
    "mnist": (6, 8),
    "wide": (6, 8),
    "lenet5": (73, 62),
}
NODES_WITHOUT_CUBLASLT = (8, 8)
# What is put on the stream, and by how many copies, for each step on data of the device.
STEP = {"graphLaunch": 1, "copy h2d pageable async": 1}
# The inputs are a copy of their own where they lie on the host and are too large for the small one.
LARGE = {"mnist", "wide", "lenet5"}
WAITS_FOR_METRICS = 2
WAITS_OF_AN_EPOCH = {"resident": 1, "resident, validated": 1, "streamed": 2}

# Batches are small: what is counted does not depend on them, and products take their time here.
NETWORKS = {
    "xor": (functools.partial(dense, 2, 4, 4, 2), 16),
    "small": (functools.partial(dense, 20, 64, 64, 5), 64),
    "mnist": (functools.partial(dense, 784, 256, 128, 10), 16),
    "wide": (functools.partial(dense, 784, 1024, 1024, 10), 16),
    "lenet5": (lenet5, 12),
}


def counted(emulated, name, place):
    """Return what the first two steps of a network count, and what two more do."""
    make, rows = NETWORKS[name]
    trains, batches = trainer(make, "cupy", rows=rows)
    if place == "device":
        asarray = trains.model.backend.asarray
        batches = [(asarray(x), asarray(t.argmax(axis=1), keep_integers=True)) for x, t in batches]
    with emulated.counting() as first:
        for batch in batches[:2]:
            trains.step(*batch)
    with emulated.counting() as then:
        for batch in batches[2:]:
            trains.step(*batch)
    return first, then


def matters(counters):
    """Return the counters of launches, copies and waits."""
    kinds = ("graphLaunch", "launch", "ltMatmul", "gemm", "copy", "memset", "wait", "malloc")
    return {n: c for n, c in counters.items() if n.startswith(kinds) and " on " not in n}


@pytest.mark.parametrize("place", ["device", "host"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_is_one_graph_and_one_small_copy(name, place, emulated):
    pytest.importorskip("nvmath.bindings.cublasLt")
    first, then = counted(emulated, name, place)
    kernels, products = NODES[name]
    assert first["captures"] == 1
    assert first["captured kernel"] == kernels
    assert first["captured ltMatmul"] == products
    assert first["graph nodes"] == kernels + products
    more = {"copy h2d pinned async": 1} if place == "host" and name in LARGE else {}
    assert matters(then) == {what: 2 * n for what, n in (STEP | more).items()}


def test_without_cublaslt_products_are_launched_between_kernels(emulated, monkeypatch):
    monkeypatch.setitem(sys.modules, "nvmath.bindings", None)
    first, then = counted(emulated, "small", "device")
    kernels, products = NODES_WITHOUT_CUBLASLT
    # Pieces of more than one kernel become graphs of their own.
    assert then["launch"] // 2 + first["captured kernel"] == kernels
    assert then["gemmStridedBatchedEx"] == 2 * products
    assert then["copy h2d pageable async"] == 2
    assert not any(name.startswith(("wait", "copy d2h")) for name in then)


def test_metrics_are_read_when_somebody_asks(emulated):
    layers, loss = classifier()
    model = npnn.Sequential(layers, **on("cupy", seed=0))
    x, t = table(30)
    history = model.fit(x, t, loss=loss, epochs=1)
    assert history.num_epochs == 1
    with emulated.counting() as measured:
        model.chain.get_loss()
        model.chain.get_accuracy()
    assert measured["wait stream"] == WAITS_FOR_METRICS
    # The counters count: what is brought to the host is waited for.
    arrays = list(model.parameters().values())
    with emulated.counting() as fetched:
        for array in arrays:
            model.backend.to_numpy(array)
    assert fetched["copy d2h pageable async"] == fetched["wait stream"] == len(arrays)


@pytest.mark.parametrize("how", WAITS_OF_AN_EPOCH)
def test_an_epoch_launches_a_graph_for_each_batch(how, emulated, monkeypatch):
    if how == "streamed":
        monkeypatch.setattr(data_batches, "SHARE_OF_DATA", 0.0)
    x, t = table(40)
    share = 0.2 if "validated" in how else 0.0

    def count(epochs):
        layers, loss = classifier()
        model = npnn.Sequential(layers, **on("cupy", seed=0))
        with emulated.counting() as counted:
            model.fit(x, t, loss=loss, epochs=epochs, batch_size=8, seed=1, validation_split=share)
        return counted

    count(2)  # what is compiled once
    epoch = count(4)
    epoch.subtract(count(3))
    batches = 4 if share else 5
    assert epoch["graphLaunch"] == batches + (share > 0)
    assert epoch["copy h2d pageable async"] == epoch["graphLaunch"]
    # The order is one copy; or each batch two, its inputs and its targets.
    assert epoch["copy h2d pinned async"] == (10 if how == "streamed" else 1)
    assert epoch["wait stream"] <= WAITS_OF_AN_EPOCH[how]
    for what in ("wait device", "hostAlloc", "captures", "moduleLoad"):
        assert epoch[what] <= 0, what
