"""The model: layers one after the other, on a backend chosen when it is constructed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

from npnn import backends, checked, copies, files, initializers, summary, training
from npnn.arrays import Array
from npnn.function import Function
from npnn.guided import guided
from npnn.io import Place
from npnn.layers.layer import Layer
from npnn.locks import held
from npnn.looked_into import LookedInto
from npnn.optimizers import Optimizer
from npnn.placing import backend_of, checked_capture
from npnn.plain import Reader, Writer
from npnn.runner import Runner
from npnn.scores import Metric
from npnn.values import like

if TYPE_CHECKING:
    import numpy as np

    from npnn.callbacks import AnyCallback
    from npnn.history import History
    from npnn.losses import LossLayer


class Sequential(LookedInto):
    """Layers, one after the other; itself a layer.

    Parameters
    ----------
    layers : sequence of Layer, optional
        They may also be assigned later. Shapes are inferred from layer to layer and checked.
    backend : str, module or Backend, default "numpy"
        The array library: ``npnn.backends.available()`` lists those that work here. ``"auto"`` is
        that of the first data: CuPy's, PyTorch's or JAX's arrays are computed on by their own
        library, where they are; all else, as until then, by NumPy.
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
    target_norm : Normalization or None
        Applied to targets, and backwards to outputs; :meth:`fit` finds it for targets that are far
        from unit scale. Saved with the model; layers called by hand compute at its scale. It is one
        for all outputs, so that they count in the loss as they do in their own units: divide each
        by a scale of its own first where they shall count alike.
    class_names : list of str or None
        Saved with the model; words as targets stand for these classes.
    details : dict
        Saved with the model; ``"columns"`` are the names of the columns that it was trained on.
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
        backend: str | ModuleType | backends.Backend = "numpy",
        dtype: str = "float32",
        device: str | int | None = None,
        precision: str | None = None,
        seed: int | None = None,
        capture: bool = True,
    ) -> None:
        if unlisted:
            shown = ", ".join(map(repr, (layers, *unlisted)))
            raise TypeError(f"the layers must be one list: Sequential([{shown}])")
        self.is_undecided = isinstance(backend, str) and backend == "auto"
        self.backend = backend_of(backend, dtype, device, precision)
        self.dtype = self.backend.dtype_name
        self.seed, self.capture = checked.seed(seed), checked_capture(capture, self.backend)
        self.rng = initializers.generator(seed)
        self.details = {}
        # It runs the model's steps, and holds the parameters.
        self.runner = Runner(self)
        super().__init__(layers)

    # Layers and shapes -------------------------------------------------------------------------

    def _take_up(self) -> None:
        if self._layers[0].shape_in is not None:
            self.build_at(self._layers[0].shape_in)

    def build_at(self, shape_in: Any, rng: np.random.Generator | None = None) -> None:
        """Build the layers for inputs of `shape_in` and place them on the backend."""
        if not self._layers:
            raise ValueError("the model has no layers: assign model.layers first")
        if shape_in is None:
            raise ValueError(
                "the input shape is not known: give the first layer its shape_in, as in Dense(4, 2)"
            )
        with held("step", self.runner.locks):
            self._build_all(shape_in, rng or self.rng)

    def _build_all(self, shape_in: Any, rng: np.random.Generator) -> None:
        within = [layer for _, layer in self.walk() if layer is not self]
        before = [dict(vars(layer)) for layer in within], self.rng.bit_generator.state
        try:
            self.build(shape_in, rng)
        except BaseException:
            # Nothing is changed by a mistake: no layer, and no weight that the seed gives.
            for layer, attributes in zip(within, before[0], strict=True):
                vars(layer).clear()
                vars(layer).update(attributes)
            self.rng.bit_generator.state = before[1]
            raise
        self.place_on(self.backend)

    # Training and prediction -------------------------------------------------------------------

    @guided
    def fit(
        self,
        x: Any,
        t: Any = None,
        *,
        w: Any = None,
        epochs: int = 10,
        batch_size: int = 32,
        validation_data: tuple[Any, Any] | None = None,
        validation_split: float = 0.0,
        loss: LossLayer | str | None = None,
        optimizer: Optimizer | str | None = None,
        metrics: Sequence[Metric] = (),
        shuffle: bool = True,
        seed: int | None = None,
        callbacks: Sequence[AnyCallback] = (),
        progress: bool = False,
        resume: Place | None = None,
    ) -> History:
        """Train the model and return what was recorded.

        Parameters
        ----------
        x : array_like or Dataset
            Raw inputs, of shape ``(samples, inputs)``; or a dataset, which brings its targets, its
            validation part, and its normalisation and class names if the model has none. Integers
            must be ones that `dtype` has, and floats differ still when they are rounded to it;
            where there is a `norm`, what it gives is rounded. Columns of a table go by name.
        t : array_like, optional
            Targets: of the shape of the outputs, integer classes, or words, which become the
            `class_names` if the model has none. None with a dataset. Where those of a regression
            are far from unit scale, a new model learns them at that: see `target_norm`.
        w : array_like, shape (samples,), optional
            How much each sample counts, in the loss and in each metric; 1 if None.
        epochs : int, default 10
            Passes over the data; when training is resumed, those done before count.
        batch_size : int, default 32
            Samples of one step; the last batch of an epoch may be smaller.
        validation_data : tuple of array_like, optional
            Inputs and targets, and weights perhaps, that are not trained on; with a dataset,
            instead of its own.
        validation_split : float, default 0
            Share of the samples, drawn by `seed`, that is validated on instead of trained on. Not
            beside `validation_data` or a dataset.
        loss : LossLayer or str, optional
            Becomes the model's `chain`; by default that, or the canonical one of the last layer. A
            name is one of a class, such as ``"cross_entropy"``, with its defaults.
        optimizer : Optimizer or str, optional
            Adam with its defaults if None. One that was used before goes on from its moments.
        metrics : sequence of str or callable, optional
            What is reported of all samples at the end of each epoch, beside the loss: ``"f1"``,
            ``"r2"``, ``"top_5"``, and others that :mod:`npnn.scores` defines, or functions that
            are given predictions and targets as NumPy arrays. They cost a pass over the data.
        shuffle : bool, default True
            Whether each epoch has its own order.
        seed : int, optional
            Of the order, the split and the noise; if None the model's own seed, from which order
            and noise go on where the last training ended, or that of the one that is resumed.
        callbacks : sequence of Callback or callable
            Called in this order; a function, of the training and the metrics, after each epoch.
        progress : bool, default False
            Whether to show a progress bar.
        resume : path_like or binary file, optional
            A file of the Checkpoint callback: go on from there, with the same numbers as if
            training had never stopped. The data must be the same. A training that EarlyStopping
            had ended goes on, unless `callbacks` holds one that has waited long enough again.

        Returns
        -------
        History
            ``loss``, ``accuracy``, the `metrics` and, with validation, ``val_loss`` and so on: a
            number for each epoch. After Ctrl-C it holds the epochs that were completed; its
            `stopped` says why training ended early, or that a resumed one had nothing left to do.

        Raises
        ------
        TypeError
            If an argument is of the wrong kind, or the data are no real numbers.
        ValueError
            If shapes do not fit, data are empty or not finite (the message says where), the loss
            has no use for such targets, a number is out of range, or two arguments contradict each
            other; nothing was changed then.
        npnn.FileError
            If the file to `resume` is damaged, or a Checkpoint could not save such a model.
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
        self.decide(x)
        with self.backend.current():  # for the callbacks too
            return training.fit(
                self,
                x,
                t,
                w=w,
                epochs=epochs,
                batch_size=batch_size,
                validation_data=validation_data,
                validation_split=validation_split,
                loss=loss,
                optimizer=optimizer,
                metrics=metrics,
                shuffle=shuffle,
                seed=seed,
                callbacks=callbacks,
                progress=progress,
                resume=resume,
            )

    def __call__(self, x: Any) -> Array:
        """Return what :meth:`predict` does."""
        return self.predict(x)

    @guided
    def predict(self, x: Any, *, batch_size: int | None = None) -> Array:
        """Return the outputs for raw inputs.

        Parameters
        ----------
        x : array_like, shape (samples, inputs)
            Of any library; `norm` is applied.
        batch_size : int, optional
            Samples at a time, to bound the memory. As many as are fastest if None: 16,384 of
            NumPy's arrays, all of them of others.

        Returns
        -------
        array, shape (samples, outputs)
            Of the model's backend, on its device.
        """
        if batch_size is not None:
            checked.integer(batch_size, "batch_size", 1)
        self.decide(x)
        return self.runner.predict(x, alone=True, batch_size=batch_size)

    def function(self) -> Function:
        """Return a plain function of one array, for serving: what :meth:`predict` gives, sooner.

        It holds a copy of the parameters and settings of now, so training the model further does
        not change it. Threads may call it at once; each has memory of its own, and none waits for
        another but where inputs of a new form come in. It can be pickled.

        Raises
        ------
        ValueError
            If the shape of the inputs is not known yet.

        Examples
        --------
        >>> import npnn
        >>> model = npnn.Sequential([npnn.Dense(2, 3), npnn.ReLU()], seed=0)
        >>> function = model.function()
        >>> function([[0.0, 0.0]])
        array([[0., 0., 0.]], dtype=float32)
        """
        return Function(self)

    def predict_class(self, x: Any) -> Array:
        """Return the class of each input: the largest output, or whether the only one is > 1/2.

        Of several outputs of Sigmoid, each is an answer of its own: 1 where it is > 1/2, else 0.
        """
        self.decide(x)
        return self.runner.predict_class(x, alone=True)

    @guided
    def evaluate(
        self,
        x: Any,
        t: Any,
        w: Any = None,
        *,
        batch_size: int = 1024,
        metrics: Sequence[Metric] = (),
    ) -> dict[str, float]:
        """Return the loss, and the accuracy where the loss has one, over a data set.

        Parameters
        ----------
        x, t : array_like
            Raw inputs and targets.
        w : array_like, shape (samples,), optional
            How much each sample counts; 1 if None.
        batch_size : int, default 1024
            Samples at a time.
        metrics : sequence of str or callable, optional
            What else to measure, as in :meth:`fit`.
        """
        checked.integer(batch_size, "batch_size", 1)
        self.decide(x)
        return self.runner.evaluate(x, t, w, batch_size, metrics)

    def __reduce__(self) -> tuple[Any, ...]:
        return copies.unpacked, copies.packed(self, copies.named(self.backend))

    def __copy__(self) -> Sequential:
        return copies.copied(self, {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Sequential:
        return copies.copied(self, memo)

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

    def set_arrays(self, arrays: Mapping[str, Any]) -> None:
        """Replace parameters and state by those of the given names; all must fit, or none is.

        Raises
        ------
        TypeError
            If something is no array of real numbers.
        ValueError
            If a name is missing or unknown, a shape differs, or a number is NaN or infinite.
        """
        if not isinstance(arrays, Mapping):
            raise TypeError(f"arrays must be a dict of names and arrays, not {arrays!r:.100}")
        with held("step", self.runner.locks), self.backend.current():
            current = {**self.parameters(), **self.state()}
            for name in sorted(current.keys() ^ arrays.keys(), key=str):
                where = "missing" if name in current else "not in the model"
                raise ValueError(f"{name!r} is {where}")
            new = {name: like(array, arrays[name], repr(name)) for name, array in current.items()}
            slots = list(self._slots("parameter_names", "state_names"))
            for name, layer, attribute in slots:
                layer.check_array(attribute, new[name], repr(name))
            for name, layer, attribute in slots:
                copied = self.backend.copy(new[name])
                (array,) = self.backend.store([getattr(layer, attribute)], [copied])
                vars(layer)[attribute] = array

    def _named(self, kind: str) -> dict[str, Array]:
        if self._layers and not self.is_built:
            self.build_at(self.shape_in)
        return {name: getattr(layer, attribute) for name, layer, attribute in self._slots(kind)}

    def _slots(self, *kinds: str) -> Iterator[tuple[str, Layer, str]]:
        """Yield the name of each array, and where it is; that of a shared layer comes once."""
        seen: set[int] = set()
        for place, layer in self.walk():
            if id(layer) not in seen:
                seen.add(id(layer))
                for name in (name for kind in kinds for name in getattr(layer, kind)):
                    yield f"{place}.{name}", layer, name

    def summary(self) -> str:
        """Return a table of the layers: output shape, parameters, memory, FLOPs per sample."""
        with held("step", self.runner.locks):
            return summary.table(self)

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
        checked.integer(batch_size, "batch_size", 1)
        if optimizer is not None:
            checked.instance(optimizer, Optimizer, "optimizer", "Adam()")
        with held("step", self.runner.locks):
            return summary.training_plan(self, batch_size, optimizer)

    def _repr_html_(self) -> str:
        """Return the table of :meth:`summary` for a notebook."""
        from npnn.plots.shown import model_html

        return model_html(self)

    def __repr__(self) -> str:
        backend = "auto" if self.is_undecided else self.backend.name
        if not self._layers:
            return f"Sequential(backend={backend!r})"
        layers = "\n".join(f"    {layer!r}," for layer in self._layers)
        return f"Sequential([\n{layers}\n], backend={backend!r}, dtype={self.dtype!r})"

    # Files -------------------------------------------------------------------------------------

    def save(self, path: Place) -> None:
        """Write the model to a safetensors file: architecture, weights, state, normalisation.

        Parameters
        ----------
        path : path_like or binary file
            A file at a path is written under a temporary name and renamed, so that it is never
            half a file; it keeps its mode. What is open is written to where it stands.

        Raises
        ------
        npnn.FileError
            If there is something that a file cannot hold, such as a function as an argument of a
            layer; nothing is written then.
        """
        with held("step", self.runner.locks):
            files.save(self, path)

    def _described(self, writer: Writer) -> dict[str, Any]:
        return files.with_settings(self, super()._described(writer))

    @classmethod
    def _restored(cls, config: dict[str, Any], reader: Reader) -> Any:
        model = cls(backend=reader.backend or "numpy")
        files.set_settings(model, config, reader)
        return model
