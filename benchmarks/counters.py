"""What a training step and an epoch ask of a GPU: launches, copies, waits, allocations.

These figures do not depend on how fast a machine is. They are counted on the emulated device of the
tests: ``make cupy ARGS=benchmarks/counters.py`` writes them to RESULTS.md.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from typing import Any

import lenet5
import workloads
from side_by_side import write_section
from tabulate import tabulate
from workloads import WORKLOADS

import npnn

COLUMNS = {
    "graph launches": ("graphLaunch",),
    "kernels beside": ("launch",),
    "products beside": ("ltMatmul", "gemmEx", "gemmStridedBatchedEx"),
    "copies to it": ("copy h2d pageable", "copy h2d pageable async", "copy h2d pinned async"),
    "from it": ("copy d2h pageable", "copy d2h pageable async", "copy d2h pinned async"),
    "waits": ("wait stream", "wait device", "wait event"),
    "allocations": ("malloc",),
}
SAMPLES = 10  # batches of an epoch


def network(name: str) -> tuple[Any, list[tuple[Any, Any]]]:
    """Return an optimizer with the model of a workload on a GPU, and batches on the host."""
    if name == "lenet5":
        layers, batches = lenet5.npnn_layers(), lenet5.batches(SAMPLES)
    else:
        workload, layers = WORKLOADS[name], []
        for inputs, outputs in itertools.pairwise(workload.sizes):
            layers += [npnn.Dense(inputs, outputs), npnn.ReLU()]
        layers[-1] = npnn.Softmax()
        batches = workloads.batches(workload, SAMPLES)
    model = npnn.Sequential(layers, backend="cupy", seed=0)
    model.chain = npnn.CrossEntropyLoss()
    optimizer = npnn.Adam(alpha=1e-3)
    optimizer.model = model
    return optimizer, batches


def counted(action: Callable[[], Any]) -> dict[str, int]:
    """Return what an action asks of the device, by the columns of the table."""
    import emulated

    emulated.reset()
    action()
    found = emulated.counters()
    return {name: sum(found.get(key, 0) for key in keys) for name, keys in COLUMNS.items()}


def step(name: str, on_device: bool) -> tuple[int, dict[str, int]]:
    """Return the nodes of a step's graph, and what a later step asks for."""
    import emulated

    optimizer, batches = network(name)
    asarray = optimizer.model.backend.asarray
    if on_device:
        batches = [(asarray(x), asarray(t)) for x, t in batches[:3]]
    optimizer.step(*batches[0])
    emulated.reset()
    optimizer.step(*batches[1])
    nodes = emulated.counters().get("graph nodes", 0)
    return nodes, counted(lambda: optimizer.step(*batches[2]))


class Epochs(npnn.Callback):
    """Counts what each epoch asks for, from its begin to the next one's."""

    def __init__(self) -> None:
        self.found: list[dict[str, int]] = []

    def on_epoch_begin(self, training: Any) -> None:
        """Start counting anew."""
        self.found.append(counted(lambda: None))

    def on_epoch_end(self, training: Any, metrics: Any) -> None:
        """Note what was counted."""
        import emulated

        found = emulated.counters()
        self.found[-1] = {n: sum(found.get(k, 0) for k in keys) for n, keys in COLUMNS.items()}


def epoch(validated: bool) -> dict[str, int]:
    """Return what the third epoch of fit asks for, in ten batches of `small`."""
    import numpy as np

    optimizer, batches = network("small")
    x, t = (np.concatenate(part) for part in zip(*batches, strict=True))
    epochs = Epochs()
    optimizer.model.fit(
        x, t, optimizer=optimizer, epochs=3, batch_size=len(batches[0][0]), callbacks=[epochs],
        validation_data=(x, t) if validated else None,
    )  # fmt: skip
    return epochs.found[-1]


def table() -> str:
    """Return all of it as Markdown."""
    rows = []
    for name in (*WORKLOADS, "lenet5"):
        for on_device in (True, False):
            nodes, found = step(name, on_device)
            where = "device" if on_device else "host"
            rows.append([f"step of {name}, batch on the {where}", nodes, *found.values()])
    for validated in (False, True):
        title = f"epoch of {SAMPLES} batches" + ", validated" * validated
        rows.append([title, "", *epoch(validated).values()])
    return tabulate(rows, ["", "nodes of its graph", *COLUMNS], tablefmt="github")


def main() -> None:
    """Count, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    options = parser.parse_args()
    text = (
        f"{table()}\n\nCounted on the emulated device of the tests, with cuBLASLt, in float32; the "
        "first two steps, which record and capture, are left out."
    )
    print(text)
    if not options.no_write:
        write_section("What a step asks of a GPU", text)


if __name__ == "__main__":
    main()
