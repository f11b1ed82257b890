"""What a model lets people see of itself: what layers give, derivatives, a step in slow motion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from npnn.guided import guided
from npnn.inside import derivatives, slow
from npnn.placing import Placed

if TYPE_CHECKING:
    from npnn.arrays import Array
    from npnn.optimizers import Optimizer


class LookedInto(Placed):
    """Layers on a backend, whose numbers can be looked at; nothing of them is changed by that.

    Parameters, moments, running statistics, metrics, the state of random numbers and what was
    recorded stay as they are, and it makes no difference whether steps are captured.
    """

    @guided
    def activations(self, x: Any, *, training: bool = False) -> dict[str, Array]:
        """Return what each layer gives for raw inputs.

        Parameters
        ----------
        x : array_like, shape (samples, inputs)
            Of any library; `norm` is applied.
        training : bool, default False
            Whether layers behave as in a training step: Dropout leaves out (what the next step
            would, if it is of so many samples), BatchNorm uses the batch's own statistics.

        Returns
        -------
        dict of str to array
            By the layer's place, those of layers within layers too: ``"2"``, ``"2.layers.0"``. What
            the last layer gives is not yet brought back by `target_norm`.

        Examples
        --------
        >>> import npnn
        >>> model = npnn.Sequential([npnn.Dense(2, 3), npnn.ReLU()], seed=0)
        >>> {place: y.shape for place, y in model.activations([[0.0, 1.0]]).items()}
        {'0': (1, 3), '1': (1, 3)}
        """
        return derivatives.activations(self, x, training=training)  # type: ignore[arg-type]

    @guided
    def gradients(
        self,
        x: Any,
        t: Any = None,
        w: Any = None,
        *,
        by: str = "parameters",
        training: bool = False,
    ) -> Any:
        r"""Return the derivatives of the loss that :meth:`evaluate` measures.

        Parameters
        ----------
        x, t : array_like
            Raw inputs and targets; the loss is that of the model's `chain`, or the one that `fit`
            would choose.
        w : array_like, shape (samples,), optional
            How much each sample counts; 1 if None.
        by : str, default "parameters"
            ``"parameters"`` for :math:`\partial L / \partial \theta`, by the names that
            :meth:`parameters` has, frozen ones included, and of chained models as ``"2:0.w"``;
            ``"activations"`` for the derivative by what each layer gives, by its place;
            ``"inputs"`` for that by `x`.
        training : bool, default False
            Whether layers behave as in a training step.

        Returns
        -------
        dict of str to array, or array

        Examples
        --------
        >>> import npnn
        >>> model = npnn.Sequential([npnn.Dense(2, 1)], seed=0)
        >>> {name: g.shape for name, g in model.gradients([[0.0, 1.0]], [1.0]).items()}
        {'0.w': (2, 1), '0.b': (1,)}
        """
        found: Any = derivatives.gradients
        return found(self, x, t, w, by=by, training=training)

    @guided
    def jacobian(self, x: Any, of: str | int | None = None, by: str | int | None = None) -> Any:
        r"""Return the derivatives :math:`\partial y_n / \partial x_k` of each sample.

        Parameters
        ----------
        x : array_like, shape (samples, inputs)
            Raw inputs.
        of : str or int, optional
            The place of the layer whose outputs are y; if None, y is what :meth:`predict` returns.
        by : str or int, optional
            The place of the layer by whose outputs is differentiated; if None, by `x` as it is
            given.

        Returns
        -------
        array, shape (samples, outputs, inputs)
            Or more axes, where outputs or inputs have more. Layers behave as in prediction, where
            the outputs of a sample depend on no other sample. It takes a pass backward for each
            output.

        Raises
        ------
        ValueError
            If there is no layer at such a place.

        Examples
        --------
        >>> import npnn
        >>> model = npnn.Sequential([npnn.Dense(2, 3), npnn.Tanh(), npnn.Dense(3, 1)], seed=0)
        >>> model.jacobian([[0.0, 1.0]]).shape, model.jacobian([[0.0, 1.0]], of=1).shape
        ((1, 1, 2), (1, 3, 2))
        """
        return derivatives.jacobian(self, x, of, by)  # type: ignore[arg-type]

    @guided
    def explain(
        self, x: Any, t: Any = None, *, sample: int = 0, optimizer: Optimizer | None = None
    ) -> str:
        """Return the training step that a batch would make, in slow motion, as text.

        Every operation in its order, forward, loss, backward and update, with its formula and the
        numbers that go in and come out; the step itself is not made.

        Parameters
        ----------
        x, t : array_like
            Raw inputs and targets: one sample, or a batch.
        sample : int, default 0
            Whose numbers are shown, of a batch.
        optimizer : Optimizer, optional
            What would update the parameters, with the moments that it has; Adam if None.

        Examples
        --------
        >>> import npnn
        >>> model = npnn.Sequential([npnn.Dense(1, 1)])
        >>> print(model.explain([2.0], [1.0], optimizer=npnn.GradientDescent(0.1))[:16])
        Forward
        -------
        """
        return slow.explain(self, x, t, sample, optimizer)  # type: ignore[arg-type]
