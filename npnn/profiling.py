"""Where the time of a training step goes: per call of its plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npnn.backends.planning import inspection
from npnn.losses import default_loss
from npnn.optimizers import Adam

if TYPE_CHECKING:
    from npnn.model import Sequential
    from npnn.optimizers import Optimizer


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
    list of npnn.backends.planning.inspection.Row
        With ``seconds``, ``flops`` and ``nbytes``, in the order of the step;
        ``npnn.backends.planning.inspection.table`` shows them.

    Raises
    ------
    ValueError
        If the model's backend makes no plan, or the model was made with ``capture=False``.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    with model.runner.training(optimizer) as locks, locks.step, model.backend.current():
        if model.chain is None:
            model.chain = default_loss(model)
        optimizer = optimizer or Adam()
        ready = model.runner.attach(optimizer)
        plan = ready.plan(optimizer, ready.side.accept.data(x, t))
        if plan is None:
            raise ValueError(
                f"backend {model.backend.name!r} runs the step as {model.backend.execution}: there "
                "is no plan to profile. The backends 'numpy' and 'numba' make one."
            )
        return inspection.rows(plan, inspection.measure(plan, steps))
