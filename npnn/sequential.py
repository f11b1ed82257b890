"""The model: layers one after the other, on a backend chosen when it is constructed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from npnn import backends, checked, initializers
from npnn.arrays import Array, Shape
from npnn.chain import Chain, parts
from npnn.checks import as_array, check_built, check_inputs
from npnn.layers.layer import Layer
from npnn.normalization import Normalization

if TYPE_CHECKING:
    import numpy as np

    from npnn.callbacks import Callback
    from npnn.history import History
    from npnn.loss_layer import LossLayer
    from npnn.optimizer import Optimizer


class Sequential(Layer):
    """Layers, one after the other; itself a layer.

    Parameters
    ----------
    layers : sequence of Layer, optional
        They may also be assigned later. Shapes are inferred from layer to layer and checked.
    backend : str or Backend, default "numpy"
        The array library: ``npnn.backends.available()`` lists those that work here.
    dtype : str, default "float32"
        ``"float32"`` or ``"float64"``.
    device : str or int, optional
        Such as ``"cuda:1"``, or just ``1``; the library's default if None.
    precision : str, optional
        What the factors of matrix products are rounded to, for speed: ``"tf32"``, ``"bfloat16"``
        or ``"float16"``, where the backend can. Their sums and the weights stay float32; float16
        scales the loss, so that small gradients are not lost.
    seed : int, optional
        Makes the initial weights, and the order of batches in :meth:`fit`, repeatable.
    capture : bool, default True
        Whether the backend may replace a step by a faster equivalent. Without, a debugger can
        stop in every layer, and layers keep the activations and gradients of the last step.

    Attributes
    ----------
    chain : LossLayer or None
        What follows the model in training.
    norm : Normalization or None
        Applied to the inputs of `fit`, `predict` and `evaluate`, and saved with the model.
    class_names : list of str or None
        Saved with the model.
    backend : Backend
        Has ``asarray``, ``to_numpy`` and ``synchronize``.

    Raises
    ------
    ValueError
        If shapes do not fit (the message names the layer, its place and both shapes), or the
        backend, dtype or device is unknown.
    npnn.MissingError
        If the backend's library, driver or device is not there.

    Examples
    --------
    >>> import npnn
    >>> model = npnn.Sequential([npnn.Dense(2, 3), npnn.ReLU()], seed=0)
    >>> model.predict([[0.0, 0.0]])
    array([[0., 0., 0.]], dtype=float32)
    """

    def __init__(
        self,
        layers: Sequence[Layer] | None = None,
        *unlisted: Layer,
        backend: str | backends.Backend = "numpy",
        dtype: str = "float32",
        device: str | int | None = None,
        precision: str | None = None,
        seed: int | None = None,
        capture: bool = True,
    ) -> None:
        if unlisted:
            shown = ", ".join(map(repr, (layers, *unlisted)))
            raise TypeError(f"the layers must be one list: Sequential([{shown}])")
        checked.seed(seed)
        self.backend = backends.get(backend, dtype, device, precision)
        self.dtype = self.backend.dtype_name
        if not capture and self.backend.precision != self.dtype:
            raise ValueError(
                f"precision={self.backend.precision!r} needs capture=True: the products of a step "
                "that is run layer by layer are the library's own"
            )
        self.seed, self.capture = seed, capture
        # Held while it runs: its layers and plans have memory of their own.
        self.lock = threading.RLock()
        self.rng = initializers.generator(seed)
        self._norm: Normalization | None = None
        self.class_names: list[str] | None = None
        self.details: dict[str, Any] = {}

        self._chain: LossLayer | None = None
        self._alone: Chain | None = None
        self._followed: Chain | None = None
        self._layers: list[Layer] = []
        if layers is not None:
            self.layers = layers

    # Layers and shapes -------------------------------------------------------------------------

    @property
    def layers(self) -> Sequence[Layer]:
        """The layers; assign a whole new list to change them."""
        return tuple(self._layers)

    @layers.setter
    def layers(self, layers: Sequence[Layer]) -> None:
        if isinstance(layers, Layer):
            raise TypeError(f"the layers must be a list: Sequential([{layers!r}])")
        if not isinstance(layers, Iterable):
            raise TypeError(f"the layers must be a list of layers, not {layers!r}")
        layers = list(layers)
        for number, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layer {number} must be a Layer, not {layer!r}")
            if any(layer is other for other in layers[:number]):
                raise ValueError(f"layer {number}, {layer!r}, stands in the model twice")
        if not layers:
            raise ValueError("a model needs at least one layer")
        old = self._layers, self.shape_in, self.shape_out
        self._layers, self.shape_in, self.shape_out = layers, None, None
        try:
            if layers[0].shape_in is not None:
                self.build_at(layers[0].shape_in)
        except BaseException:
            self._layers, self.shape_in, self.shape_out = old
            raise
        self.version += 1

    def build_at(self, shape_in: Shape | None) -> None:
        """Build the layers for inputs of `shape_in` and place them on the backend."""
        if not self._layers:
            raise ValueError("the model has no layers: assign model.layers first")
        if shape_in is None:
            raise ValueError(
                "the input shape is not known: give the first layer its shape_in, as in Dense(4, 2)"
            )
        parts = [layer for _, layer in self.walk() if layer is not self]
        before = [dict(vars(layer)) for layer in parts], self.rng.bit_generator.state
        try:
            self.build(shape_in, self.rng)
        except BaseException:
            # Nothing is changed by a mistake: no layer, and no weight that the seed gives.
            for layer, attributes in zip(parts, before[0], strict=True):
                vars(layer).clear()
                vars(layer).update(attributes)
            self.rng.bit_generator.state = before[1]
            raise
        self.to(self.backend)

    def build(self, shape_in: Shape | int, rng: np.random.Generator | None = None) -> Shape:
        """Build each layer for what the one before gives; one built already keeps its weights."""
        shape = start = self.accept(shape_in)
        followers = [*self._layers[1:], self.following]
        for number, (layer, following) in enumerate(zip(self._layers, followers, strict=True)):
            layer.dtype, layer.following = self.dtype, following
            try:
                if layer.is_built:
                    layer.accept(shape)
                    assert layer.shape_out is not None
                    shape = layer.shape_out
                else:
                    shape = layer.build(shape, rng)
                    check_built(layer, shape)
            except ValueError as error:
                before = f" by layer {number - 1}, {self._layers[number - 1]!r}" if number else ""
                raise ValueError(f"layer {number}, {layer!r}: {error}{before}") from None
        self.shape_in, self.shape_out = start, shape
        return shape

    def children(self) -> Iterator[tuple[str, Layer]]:
        """Yield the layers and their places."""
        return ((str(number), layer) for number, layer in enumerate(self._layers))

    @property
    def flops(self) -> int:
        """Floating-point operations of one sample's forward pass."""
        return sum(layer.flops for layer in self._layers)

    # The protocol of a layer -------------------------------------------------------------------

    def forward(self, x: Array) -> Array:
        """Return what the last layer gives for a batch `x`, an array of the model's backend."""
        with self.backend.current():
            for layer in self._layers:
                self.logits, x = x, layer.forward(x)
        return x

    def backward(self, grad_y: Array, *, at_logits: bool = False) -> Array:
        """Return the gradient at the inputs, leaving those of the parameters in the layers.

        Parameters
        ----------
        grad_y : array
            The gradient at the outputs.
        at_logits : bool, default False
            Whether it is the gradient at the last layer's inputs instead.
        """
        layers = self._layers
        if at_logits:
            last, layers = layers[-1], layers[:-1]
            if isinstance(last, Sequential):
                grad_y = last.backward(grad_y, at_logits=True)
        with self.backend.current():
            for layer in reversed(layers):
                grad_y = layer.backward(grad_y)
        return grad_y

    # Training and prediction -------------------------------------------------------------------

    @property
    def norm(self) -> Normalization | None:
        """The map that raw inputs go through first."""
        return self._norm

    @norm.setter
    def norm(self, norm: Normalization | None) -> None:
        if norm is not None:
            checked.instance(norm, Normalization, "norm", "Normalization.standard(x)")
        self._norm = norm

    @property
    def chain(self) -> Any:
        """The loss that training makes small."""
        return self._chain

    @chain.setter
    def chain(self, loss: LossLayer | None) -> None:
        from npnn.loss_layer import LossLayer

        if loss is not None and not isinstance(loss, (LossLayer, Sequential)):
            raise TypeError(f"chain must be a loss or a model, not {loss!r}")
        if isinstance(loss, LossLayer) and self.shape_out is not None:
            try:
                loss.accept(self.shape_out)
            except ValueError as error:
                raise ValueError(f"{loss!r} after {self._layers[-1]!r}: {error}") from None
        self._chain = loss

    def fit(
        self,
        x: Any,
        t: Any = None,
        *,
        epochs: int = 10,
        batch_size: int = 32,
        validation_data: tuple[Any, Any] | None = None,
        validation_split: float = 0.0,
        loss: LossLayer | None = None,
        optimizer: Optimizer | None = None,
        shuffle: bool = True,
        seed: int | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = False,
        resume: str | os.PathLike[str] | None = None,
    ) -> History:
        """Train the model and return what was recorded.

        Parameters
        ----------
        x : array_like or Dataset
            Raw inputs, of shape ``(samples, inputs)``; or a dataset, which brings its targets, its
            validation part, and its normalisation and class names if the model has none.
        t : array_like, optional
            Targets: of the shape of the outputs, or integer classes. None with a dataset.
        epochs : int, default 10
            Passes over the data; when training is resumed, those done before count.
        batch_size : int, default 32
            Samples of one step; the last batch of an epoch may be smaller.
        validation_data : tuple of array_like, optional
            Inputs and targets that are not trained on; with a dataset, instead of its own.
        validation_split : float, default 0
            Share of the samples, drawn by `seed`, that is validated on instead of trained on. Not
            beside `validation_data` or a dataset.
        loss : LossLayer, optional
            Becomes the model's `chain`; by default that, or the canonical one of the last layer.
        optimizer : Optimizer, optional
            Adam with its defaults if None. One that was used before goes on from its moments.
        shuffle : bool, default True
            Whether each epoch has its own order.
        seed : int, optional
            Of the order, the split and the noise; if None the model's own seed, or that of the
            training that is resumed.
        callbacks : sequence of Callback
            Called in this order.
        progress : bool, default False
            Whether to show a progress bar.
        resume : path_like, optional
            A file of the Checkpoint callback: go on from there, with the same numbers as if
            training had never stopped. The data must be the same. A training that EarlyStopping
            had ended goes on, unless `callbacks` holds one that has waited long enough again.

        Returns
        -------
        History
            ``loss``, ``accuracy`` and, with validation, ``val_loss``, ``val_accuracy``: a number
            for each epoch. After Ctrl-C it holds the epochs that were completed; its `stopped`
            says why training ended early, or that a resumed one had nothing left to do.

        Raises
        ------
        TypeError
            If an argument is of the wrong kind, or the data are no real numbers.
        ValueError
            If shapes do not fit, data are empty or not finite (the message says where), the loss
            has no use for such targets, a number is out of range, or two arguments contradict each
            other; nothing was changed then.
        npnn.DivergedError
            If the loss became NaN or infinite; the model holds the parameters from before that
            step.

        Examples
        --------
        >>> import npnn
        >>> model = npnn.Sequential([npnn.Dense(2, 4), npnn.Tanh(), npnn.Dense(4, 1)], seed=0)
        >>> history = model.fit([[0.0, 1.0], [1.0, 1.0]], [1.0, 0.0], epochs=3)
        >>> len(history["loss"])
        3
        """
        from npnn.training import fit

        with self.backend.current():  # for the callbacks too
            return fit(
                self,
                x,
                t,
                epochs=epochs,
                batch_size=batch_size,
                validation_data=validation_data,
                validation_split=validation_split,
                loss=loss,
                optimizer=optimizer,
                shuffle=shuffle,
                seed=seed,
                callbacks=callbacks,
                progress=progress,
                resume=resume,
            )

    def predict(self, x: Any, *, batch_size: int | None = None) -> Array:
        """Return the outputs for raw inputs.

        Parameters
        ----------
        x : array_like, shape (samples, inputs)
            Of any library; `norm` is applied.
        batch_size : int, optional
            Samples at a time, to bound the memory; all at once if None.

        Returns
        -------
        array, shape (samples, outputs)
            Of the model's backend, on its device.
        """
        chain = self._alone_chain(x)
        if batch_size is None:
            return chain.predict(x)
        checked.integer(batch_size, "batch_size", 1)
        x = as_array(self.backend, x, "x")
        check_inputs(x, self)
        outputs = [chain.predict(x[rows, ...]) for rows in parts(x.shape[0], batch_size)]
        with self.backend.current():
            return self.backend.xp.concat(outputs)

    def predict_class(self, x: Any) -> Array:
        """Return the class of each input: the largest output, or whether the only one is > 1/2."""
        return self._alone_chain(x).predict_class(x)

    def evaluate(self, x: Any, t: Any, *, batch_size: int = 1024) -> dict[str, float]:
        """Return the loss, and the accuracy where the loss has one, over a data set.

        Parameters
        ----------
        x, t : array_like
            Raw inputs and targets.
        batch_size : int, default 1024
            Samples at a time.
        """
        from npnn.training import default_loss

        checked.integer(batch_size, "batch_size", 1)
        if self.shape_in is None:
            check_inputs(as_array(self.backend, x, "x"), self)
        if self._chain is None:
            self.chain = default_loss(self)
        if self._followed is None or not self._followed.is_current(self):
            self._followed = Chain(self)
        chain = self._followed
        if t is None:
            chain.refuse_without_targets()
        x, t = chain.prepare(x, t)
        for loss in chain.losses:
            loss.reset()
        for rows in parts(x.shape[0], batch_size):
            batch = {"x": x[rows, ...], "t": t[rows, ...]}
            chain.run_prediction({}, batch, batch["x"].shape[0])
        return chain.metrics()

    def __getstate__(self) -> object:
        raise TypeError(
            "a model is neither copied nor pickled: model.save(path) writes it to a file, and "
            "npnn.load(path) makes another one of that"
        )

    def _alone_chain(self, x: Any) -> Chain:
        if not self._layers:
            raise ValueError("the model has no layers: assign model.layers first")
        if self.shape_in is None:
            check_inputs(as_array(self.backend, x, "x"), self)
        with self.lock:
            if self._alone is None or not self._alone.is_current(self):
                self._alone = Chain(self, alone=True)
            return self._alone

    # Looking at it -----------------------------------------------------------------------------

    def parameters(self) -> dict[str, Array]:
        """Return the trained arrays by name: ``"0.w"`` is the `w` of the first layer.

        They are the model's own, so that training changes them (or, where the library's arrays
        cannot be written, replaces them).
        """
        return self._named("parameter_names")

    def state(self) -> dict[str, Array]:
        """Return the arrays that training carries along without a gradient, by name."""
        return self._named("state_names")

    def set_arrays(self, arrays: dict[str, Any]) -> None:
        """Replace parameters and state by those of the given names; all must fit, or none is.

        Raises
        ------
        ValueError
            If a name is missing or unknown, or a shape differs.
        """
        current = {**self.parameters(), **self.state()}
        for name in sorted(current.keys() ^ arrays.keys()):
            raise ValueError(f"{name!r} is {'missing' if name in current else 'not in the model'}")
        for name, array in current.items():
            if tuple(arrays[name].shape) != tuple(array.shape):
                raise ValueError(
                    f"{name!r} has shape {tuple(arrays[name].shape)}, but the model needs "
                    f"{tuple(array.shape)}"
                )
        for place, layer in self.walk():
            for name in (*layer.parameter_names, *layer.state_names):
                value = arrays[f"{place}.{name}"]
                setattr(layer, name, self.backend.asarray(value, copy=True))

    def _named(self, kind: str) -> dict[str, Array]:
        if self._layers and self.shape_in is None:
            self.build_at(None)
        return {
            f"{place}.{name}": getattr(layer, name)
            for place, layer in self.walk()
            for name in getattr(layer, kind)
        }

    def summary(self) -> str:
        """Return a table of the layers: output shape, parameters, memory, FLOPs per sample."""
        from npnn.tables import summary

        return summary(self)

    def plan(self, batch_size: int = 32, optimizer: Optimizer | None = None) -> str:
        """Return the static plan of a training step as a table, without training.

        Parameters
        ----------
        batch_size : int, default 32
            Samples of the step.
        optimizer : Optimizer, optional
            Adam if None.

        Returns
        -------
        str
            A line for each call: the layer's place, the method, the operation, the shape of the
            result, where it lies, bytes read and written, FLOPs. Or, for a backend that makes no
            plan, a sentence that says so.
        """
        from npnn.tables import training_plan

        checked.integer(batch_size, "batch_size", 1)
        return training_plan(self, batch_size, optimizer)

    def __repr__(self) -> str:
        if not self._layers:
            return f"Sequential(backend={self.backend.name!r})"
        layers = "\n".join(f"    {layer!r}," for layer in self._layers)
        return f"Sequential([\n{layers}\n], backend={self.backend.name!r}, dtype={self.dtype!r})"

    # Files -------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file: architecture, weights, state, normalisation.

        The file is written under a temporary name and renamed, so that `path` is never half a
        file.
        """
        from npnn.files import save

        save(self, path)

    def to_config(self) -> dict[str, Any]:
        """Return the architecture as plain values."""
        return {"type": "Sequential", "layers": [{"layer": x.to_config()} for x in self._layers]}
