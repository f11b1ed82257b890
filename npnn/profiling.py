"""Where the time of a training step goes: per call of its plan, as a table and as a picture."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from npnn.backends import inspection
from npnn.chain import Chain
from npnn.optimizer import Adam
from npnn.training import default_loss

if TYPE_CHECKING:
    from npnn.optimizer import Optimizer
    from npnn.sequential import Sequential


def profile(
    model: Sequential,
    x: Any,
    t: Any,
    *,
    optimizer: Optimizer | None = None,
    steps: int = 50,
) -> list[inspection.Row]:
    """Train on one batch for some steps and return what each call of the plan took.

    Parameters
    ----------
    model : Sequential
        It is trained by these steps.
    x, t : array_like
        A batch of raw inputs and targets.
    optimizer : Optimizer, optional
        Adam if None.
    steps : int, default 50
        Each time is the median over so many.

    Returns
    -------
    list of npnn.backends.inspection.Row
        With ``seconds``, ``flops`` and ``nbytes``, in the order of the step;
        ``npnn.backends.inspection.table`` shows them.

    Raises
    ------
    ValueError
        If the model's backend makes no plan, or the model was made with ``capture=False``.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if model.chain is None:
        model.chain = default_loss(model)
    chain = Chain(model)
    x, t = chain.prepare(x, t)
    plan = chain.training_plan(optimizer or Adam(), x, t)
    if plan is None:
        raise ValueError(
            f"backend {model.backend.name!r} runs the step as {model.backend.execution}: there is "
            "no plan to profile. The backends 'numpy' and 'numba' make one."
        )
    places = {id(layer): place for place, layer in chain.layers}
    return inspection.rows(plan, places, inspection.measure(plan, steps))


def picture(rows: list[inspection.Row], path: str | os.PathLike[str] | None = None) -> Any:
    """Draw the time of each call as a bar, in the order of the step.

    Parameters
    ----------
    rows : list of npnn.backends.inspection.Row
        What :func:`profile` gave.
    path : path_like, optional
        A PNG to write.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from npnn import plots

    figure_class = plots.figure_class()
    kinds = {"product": "#0072B2", "elementwise": "#E69F00", "optimizer": "#009E73"}
    figure = figure_class(figsize=(8.0, 1.4 + 0.22 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    total = sum(row.seconds for row in rows)
    for position, row in enumerate(rows):
        kind = "product" if row.operation == "matmul" else "elementwise"
        kind = kind if row.layer else "optimizer"
        axes.barh(position, row.seconds * 1e6, color=kinds[kind], height=0.75)
    labels = [f"{row.layer}  {row.origin.split('+')[0]}: {row.operation}" for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("microseconds")
    axes.set_title(f"A training step, {total * 1e6:,.0f} us in {len(rows)} calls", loc="left")
    for name, colour in kinds.items():
        axes.barh(0, 0, color=colour, label=name)
    axes.legend(frameon=False, loc="best")
    axes.spines[["top", "right"]].set_visible(False)
    if path is not None:
        plots.write(figure, path)
    return figure
