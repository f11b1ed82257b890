"""Looking into a plan: what each call does, what it costs, and how long it takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from npnn.backends.operations.kinds import flops
from npnn.backends.planning.plan import Plan


class Row(NamedTuple):
    """One call of a plan, or the calls that make up one operation."""

    layer: str
    """The place of the layer, such as ``"0"``; empty for the optimizer and the rest."""
    origin: str
    """The method that asked for it, such as ``Dense.forward``."""
    operation: str
    result: str
    offset: int | None
    """Where the result lies in the arena; None if it lies outside, or nowhere."""
    nbytes: int
    """Bytes read and written."""
    flops: int
    seconds: float = 0.0


def rows(plan: Plan, seconds: list[float] | None = None) -> list[Row]:
    """Return a row for each group of operations that runs as one.

    Parameters
    ----------
    plan : Plan
        The plan to look into.
    seconds : list of float, optional
        The time of each call of the plan, as :func:`measure` returns it.
    """
    spent: dict[int, float] = {}
    for group, duration in zip(plan.owners, seconds or [0.0] * len(plan.calls), strict=True):
        spent[id(group)] = spent.get(id(group), 0.0) + duration
    found = []
    seen: set[int] = set()
    for group in plan.owners:
        if id(group) in seen:
            continue
        seen.add(id(group))
        last = group[-1]
        inside = {node.base for node in group}
        read = {arg.base: arg for node in group for arg in node.args if arg.base not in inside}
        written = [node for node in group if node not in plan.draft.transient]
        place = plan.draft.places.get(last)
        origins = list(dict.fromkeys(node.origin[0] for node in group))
        layers = dict.fromkeys(node.origin[1] for node in group)
        found.append(
            Row(
                "+".join(name for name in layers if name),
                "+".join(origins[:3]) + ("+..." if len(origins) > 3 else ""),
                "+".join(node.op for node in group) if len(group) < 4 else f"{len(group)} fused",
                "x".join(map(str, last.shape)) or "()",
                None if place is None or place.array is not None else place.offset,
                sum(node.nbytes for node in (*read.values(), *written)),
                sum(map(flops, group)),
                spent[id(group)],
            )
        )
    return found


def measure(plan: Plan, repeats: int = 20) -> list[float]:
    """Return the median seconds of each call, run in its turn after the calls before it.

    The plan's inputs must hold a batch; parameters and moments are changed as by so many steps.
    """
    times = np.empty((repeats, len(plan.calls)))
    clock = time.perf_counter
    calls = [_bound(function, arguments) for function, arguments in plan.calls]
    # Their memory is used for other values, once they have been read.
    restore = plan.keep_inputs()
    for repeat in range(repeats):
        restore()
        plan.wait()
        for number, call in enumerate(calls):
            started = clock()
            call()
            plan.wait()
            times[repeat, number] = clock() - started
    return [float(t) for t in np.median(times, axis=0)]


def _bound(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[[], Any]:
    if function in (np.maximum, np.minimum):
        return partial(function, *arguments[:-1], out=arguments[-1])
    return partial(function, *arguments)


def table(found: list[Row]) -> str:
    """Return the rows as a table for people, with totals."""
    from tabulate import tabulate

    seconds = math.fsum(row.seconds for row in found)
    nbytes, of_all = sum(row.nbytes for row in found), sum(row.flops for row in found)
    total = Row("", "total", f"{len(found)} calls", "", None, nbytes, of_all, seconds)
    heads = ["", "from", "operation", "result", "at", "bytes", "FLOPs"]
    heads += ["us", "share", "GFLOP/s", "GB/s"] if seconds else []
    lines = [_line(row, seconds) for row in (*found, total)]
    align = ["left"] * 4 + ["right"] * (len(heads) - 4)
    return str(tabulate(lines, heads, colalign=align, disable_numparse=True))


def _line(row: Row, total: float) -> list[str]:
    """Return what a table says of a row, among rows that took so long together."""
    numbers = ["" if n is None else f"{n:,}" for n in (row.offset, row.nbytes, row.flops)]
    if total:
        numbers += [f"{row.seconds * 1e6:.1f}", f"{row.seconds / total:.1%}"]
        for done in (row.flops, row.nbytes):
            numbers.append(f"{done / row.seconds / 1e9:.1f}" if row.seconds else "")
    return [*row[:4], *numbers]
