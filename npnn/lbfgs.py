"""L-BFGS on a whole data set, by SciPy: few, large steps, which suit a small one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npnn import checked
from npnn.arrays import Array
from npnn.errors import MissingError
from npnn.history import History
from npnn.optimizers import Optimizer

if TYPE_CHECKING:
    from npnn.model import Sequential


class _Gradient(Optimizer):
    """Leaves the parameters as they are, and keeps their gradient."""

    moments = ("g",)

    def update(self, p: Array, g: Array, old: Array, *, rate: Array) -> tuple[Array, ...]:
        return p, g


def fit(
    model: Sequential,
    x: Any,
    t: Any,
    w: Any = None,
    *,
    iterations: int = 200,
    weight_decay: float = 0.0,
    tolerance: float = 1e-4,
) -> History:
    r"""Make the loss of all samples at once as small as L-BFGS can.

    It minimises :math:`L(\theta) + \frac{\lambda}{2} |\theta|^2`, whose gradient is computed by the
    training step of the model. Each iteration searches along the direction that the last ten
    gradients and steps suggest for the curvature.

    Parameters
    ----------
    model : Sequential
        With a loss as its `chain`; without layers that draw random numbers.
    x, t, w : array_like
        Inputs, targets and perhaps weights, as for :meth:`npnn.Sequential.fit`.
    iterations : int, default 200
        At most.
    weight_decay : float, default 0
        :math:`\lambda`.
    tolerance : float, default 1e-4
        It ends where no element of the gradient is larger, or the loss falls by no more than it
        is rounded by.

    Returns
    -------
    History
        The ``loss`` after each iteration, without the penalty.

    Raises
    ------
    MissingError
        If SciPy is not installed.
    ValueError
        If the model draws random numbers, such as Dropout does.

    References
    ----------
    Liu and Nocedal 1989, "On the limited memory BFGS method for large scale optimization".

    Examples
    --------
    >>> import npnn
    >>> model = npnn.Sequential([npnn.Dense(1, 1)], seed=0, dtype="float64")
    >>> model.chain = npnn.RMSLoss()
    >>> history = npnn.lbfgs.fit(model, [[0.0], [1.0]], [[1.0], [3.0]], tolerance=1e-9)
    >>> [round(float(y), 6) for y in model.predict([[2.0]])[0]]
    [5.0]
    """
    try:
        from scipy.optimize import minimize
    except ImportError:
        raise MissingError(
            "L-BFGS needs SciPy, which is not installed: pip install 'npnn-xp[sklearn]', or "
            "pip install scipy"
        ) from None
    checked.integer(iterations, "iterations", 1)
    runner, optimizer, history = model.runner, _Gradient(weight_decay=weight_decay), History()
    runner.build_for(x)
    optimizer.model = model
    network = runner.network
    if network.noisy:
        raise ValueError(f"L-BFGS needs a loss that stays the same: leave out {network.noisy[0]!r}")
    runner.attach(optimizer)
    backend, packing, last = model.backend, runner.packing, [np.nan]

    def set_parameters(flat: np.ndarray) -> None:
        with backend.current():
            parts, start = [], 0
            for array in packing.arrays:
                size = int(np.prod(array.shape))
                parts.append(backend.asarray(flat[start : start + size].reshape(array.shape)))
                start += size
            packing.replace(parts)

    def flat_of(arrays: list[Array]) -> np.ndarray:
        return np.concatenate([backend.to_numpy(a).reshape(-1) for a in arrays], dtype=np.float64)

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        set_parameters(flat)
        for loss in network.losses:
            loss.reset()
        runner.train(optimizer, x, t, w)
        last[0] = runner.metrics()["loss"]
        return last[0] + weight_decay / 2 * float(flat @ flat), flat_of(optimizer.state[0])

    def note(_: np.ndarray) -> None:
        history.append({"loss": last[0]})

    found = minimize(
        loss_and_gradient,
        flat_of(packing.arrays),
        method="L-BFGS-B",
        jac=True,
        callback=note,
        options={
            "maxiter": iterations,
            "gtol": tolerance,
            "ftol": 64 * np.finfo(float).eps,  # not before the gradient says so
            "maxfun": 15_000,
        },
    )
    set_parameters(found.x)
    history.stopped = "" if found.nit >= iterations else "the gradient is small enough"
    return history
