"""What the measurements on a GPU come to: the goals, and tables of them."""

from __future__ import annotations

import math
from typing import NamedTuple

from gpu_contestants import ADAM, IMAGES, LARGE, LENET5, PARAMETERS

OURS = "npnn cupy"
EAGER, GRAPH, JAX = "PyTorch eager, fused Adam", "PyTorch, CUDA graph", "JAX, hand-written, jit"
SIDE = 8192  # rows and columns of the product that is the ceiling
ADAM_BYTES = 7 * 4 * PARAMETERS  # p, m and v are read and written, g is read

Times = dict[str, dict[str, float]]  # microseconds, by contestant and workload


class Accuracy(NamedTuple):
    """What LeNet-5 makes of images that it was not trained on, after the same training."""

    data: str
    images: int
    cpu: float
    gpu: float
    cpu_seconds: float
    gpu_seconds: float

    @property
    def tolerance(self) -> float:
        """Two standard errors: trainings that begin alike and round otherwise differ so much."""
        return 2.0 * math.sqrt(2.0 * self.cpu * (1.0 - self.cpu) / self.images)


def goals(
    times: Times, copy: float, product: float, lenet: Accuracy | None
) -> list[tuple[str, str, bool | None]]:
    """Return what was aimed at, what came of it, and whether that is enough; None: not measured."""
    ours, peers = times.get(OURS, {}), {n: t for n, t in times.items() if n != OURS}
    found: list[tuple[str, str, bool | None]] = []

    def add(goal: str, value: float, least: float, how: str) -> None:
        known = not math.isnan(value)
        found.append((goal, format(value, how) if known else "", value >= least if known else None))

    def ratio(workload: str, *names: str) -> float:
        own = ours.get(workload, math.nan)
        theirs = [peers[n][workload] for n in names if n in peers and workload in peers[n]]
        theirs = [t for t in theirs if not math.isnan(t)]
        return min(theirs) / own if len(theirs) == len(names) else math.nan

    for workload in ("xor", "small"):
        both = f"{workload}: at least as fast as the faster of jax.jit and PyTorch with CUDA graphs"
        add(both, ratio(workload, JAX, GRAPH), 1.0, ".2f")
        add(f"{workload}: 8 times as fast as PyTorch eager", ratio(workload, EAGER), 8.0, ".2f")
    share = LARGE.flops / (ours.get("large", math.nan) * 1e-6) / product
    add("large, in tf32: 60 % of the rate of a plain product", share, 0.6, ".1%")
    share = ADAM_BYTES / (ours.get(ADAM, math.nan) * 1e-6) / copy
    add(f"Adam over {PARAMETERS:,} parameters: 85 % of the rate of a copy", share, 0.85, ".1%")
    if lenet is not None:
        goal = f"LeNet-5: the CPU's accuracy, {lenet.cpu:.2%} less {lenet.tolerance:.2%} of chance"
        add(goal, lenet.gpu, lenet.cpu - lenet.tolerance, ".2%")
    return found


def tables(times: Times, copy: float, product: float, lenet: Accuracy | None) -> str:
    """Return the goals, times, ratios and what the card can do as Markdown."""
    from tabulate import tabulate

    said = {True: "met", False: "missed", None: "not measured"}
    rows = [(goal, value, said[met]) for goal, value, met in goals(times, copy, product, lenet)]
    text = [tabulate(rows, ["goal", "measured", ""], tablefmt="github", disable_numparse=True)]
    columns = list(next(iter(times.values()), {}))
    align = ("left", *["right"] * len(columns))
    rows = [[n, *(_shown(own[w], ",.1f") for w in columns)] for n, own in times.items()]
    text += [
        "\nMicroseconds of one training step (forward, backward, Adam), many put on the device and "
        f"waited for at the end; `large` in tf32, the others in float32; `{LENET5}` at batch "
        f"{IMAGES}; `{ADAM}` is the update of {PARAMETERS:,} parameters alone:\n",
        tabulate(rows, ["", *columns], tablefmt="github", colalign=align, disable_numparse=True),
    ]
    ours = times.get(OURS)
    rows = [
        [n, *(_shown(own[w] / ours[w], ".2f") for w in columns)]
        for n, own in times.items()
        if ours is not None and own is not ours
    ]
    if rows:
        text += [
            "\nThe peer's time divided by that of npnn (above 1: npnn is faster):\n",
            tabulate(
                rows, ["", *columns], tablefmt="github", colalign=align, disable_numparse=True
            ),
        ]
    text.append(
        f"\nA device copy moved {copy / 1e9:,.0f} GB/s (read and written), a product of "
        f"{SIDE}x{SIDE} matrices in tf32 ran at {product / 1e12:,.0f} TFLOP/s."
    )
    if lenet is not None:
        text.append(
            f"LeNet-5 trained on {lenet.data}: {lenet.gpu:.2%} of {lenet.images:,} others right "
            f"after {lenet.gpu_seconds:.1f} s on the card, {lenet.cpu:.2%} after "
            f"{lenet.cpu_seconds:.1f} s on the CPU."
        )
    return "\n".join(text)


def _shown(value: float, how: str) -> str:
    return "" if math.isnan(value) else f"{value:{how}}"
