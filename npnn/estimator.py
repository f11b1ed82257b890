"""What networks as scikit-learn's estimators have in common: see ``sklearn.py``."""

from __future__ import annotations

import copy
import math
import numbers
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from npnn import checked, lbfgs
from npnn.arrays import Array
from npnn.callbacks import Callback, EarlyStopping
from npnn.dispatched import as_beside, check_same_place, floats_of, on_host, rows_of, standard
from npnn.errors import MissingError
from npnn.guided import guided
from npnn.history import History
from npnn.layers import (
    Dense,
    Dropout,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    Swish,
    Tanh,
)
from npnn.losses import LossLayer
from npnn.model import Sequential
from npnn.optimizers import Adam, AdamW, GradientDescent, Optimizer, RMSprop
from npnn.values import merges

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import (
        _check_sample_weight,
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
except ImportError as error:
    raise MissingError(
        f"npnn.sklearn needs scikit-learn 1.7 or newer ({error}): pip install 'npnn-xp[sklearn]', "
        "or pip install 'scikit-learn>=1.7'"
    ) from None

ACTIVATIONS: dict[str, Callable[[], Layer]] = {
    "relu": ReLU, "leaky_relu": LeakyReLU, "tanh": Tanh, "sigmoid": Sigmoid, "swish": Swish,
    "linear": Linear,
}  # fmt: skip
OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop, "gradient_descent": GradientDescent,
}  # fmt: skip
FEW = 2**14  # numbers: a step on them takes as long in float64


class NetworkEstimator(BaseEstimator):  # type: ignore[misc]
    """What the two estimators have in common."""

    @guided
    def __init__(
        self,
        hidden: int | Sequence[int] = (100,),
        *,
        activation: str = "relu",
        dropout: float = 0.0,
        model: Sequential | Callable[[int, int], Sequential] | None = None,
        loss: LossLayer | None = None,
        optimizer: str | Optimizer = "adam",
        alpha: float = 1e-3,
        weight_decay: float = 1e-4,
        batch_size: int | str = "auto",
        epochs: int = 200,
        tol: float | str | None = "auto",
        patience: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        standardize: bool = True,
        random_state: Any = None,
        warm_start: bool = False,
        backend: str = "auto",
        dtype: str = "auto",
        callbacks: Sequence[Callback] = (),
        verbose: bool = False,
    ) -> None:
        self.hidden, self.activation, self.dropout = hidden, activation, dropout
        self.model, self.loss = model, loss
        self.optimizer, self.alpha, self.weight_decay = optimizer, alpha, weight_decay
        self.batch_size, self.epochs, self.tol, self.patience = batch_size, epochs, tol, patience
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.standardize, self.random_state, self.warm_start = standardize, random_state, warm_start
        self.backend, self.dtype = backend, dtype
        self.callbacks, self.verbose = callbacks, verbose

    # What each estimator does its own way ------------------------------------------------------

    enough: float  # what the loss must fall by for training to go on, by default

    def _note_targets(self, y: np.ndarray, w: np.ndarray | None) -> None:
        """Note what the targets say of the outputs."""
        raise NotImplementedError

    def _targets(self, y: np.ndarray) -> np.ndarray:
        """Return the targets of the network."""
        raise NotImplementedError

    def _weights(self, y: np.ndarray, w: np.ndarray | None) -> np.ndarray | None:
        """Return how much each sample counts."""
        return w

    def _head(self) -> tuple[list[Layer], LossLayer]:
        """Return the last activation, and the loss."""
        raise NotImplementedError

    # Fitting -----------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train a new network, or with `warm_start` the one that is there.

        Parameters
        ----------
        X : array_like, shape (samples, features)
            Numbers; a sparse matrix is made dense.
        y : array_like, shape (samples,) or (samples, outputs)
            Targets.
        sample_weight : array_like, shape (samples,), optional
            How much each sample counts; 1 if None.

        Returns
        -------
        self
        """
        goes_on = checked.flag(self.warm_start, "warm_start") and hasattr(self, "model_")
        return self._fit(X, y, sample_weight, new=not goes_on)

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, new: bool, epochs: int = 0) -> Any:
        self._check_arguments()
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=floats_of(X),
            multi_output=True,
            y_numeric=isinstance(self, RegressorMixin),
            reset=new,
        )
        X = X.toarray() if hasattr(X, "toarray") else X
        y = on_host(y)
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        w = self._sample_weight(y, sample_weight)
        if not new:
            self._check_network()
        if new:
            self._origin = as_beside(X, np.zeros(()))  # where outputs go
            self._note_targets(y, w)
        t, w = self._targets(y), self._weights(y, w)
        rng = check_random_state(self.random_state)
        if new:
            seed = int(rng.randint(np.iinfo(np.int32).max))
            self._build(X, w, seed, in_parts=bool(epochs))
        history = self._train(self._readable(X), t, w, y, epochs, rng)
        if new or (not self.warm_start and not epochs):
            self.history_ = history
        else:
            for name, values in history.items():
                self.history_.setdefault(name, []).extend(values)
        self.loss_curve_ = list(self.history_["loss"])
        self.n_iter_ = len(self.loss_curve_)
        self.loss_ = self.loss_curve_[-1]
        return self

    def _sample_weight(self, y: np.ndarray, given: Any) -> np.ndarray | None:
        if given is None:
            return None
        given = on_host(given) if hasattr(given, "__dlpack__") else given
        w: np.ndarray = _check_sample_weight(
            given, y, dtype=(np.float64, np.float32), ensure_non_negative=True
        )
        if not w.any():
            raise ValueError("sample_weight is 0 for all samples: there is nothing to learn from")
        return w

    def _check_network(self) -> None:
        """Raise the error for arguments that the network that is there was not made with."""
        for name, value in self._shaping().items():
            before = self._made_with.get(name)
            if value is not before and value != before:
                raise ValueError(
                    f"{name} was {before!r} when the network was made that training goes on with, "
                    f"and cannot become {value!r}: set warm_start=False, or make a new estimator"
                )
        if not isinstance(self.optimizer, Optimizer) and self.optimizer != "lbfgs":
            self._take_optimizer(self.optimizer)

    def _shaping(self) -> dict[str, Any]:
        """Return the arguments that shape the network."""
        if self.model is not None:
            return {"model": self.model, "standardize": self.standardize}
        names = ("model", "activation", "dropout", "standardize", "dtype", "backend")
        return {"hidden": self._widths(), **{name: getattr(self, name) for name in names}}

    def _take_optimizer(self, name: str) -> None:
        """Have an optimizer of the arguments of now, and of the moments that there are."""
        kind = OPTIMIZERS[name]
        if type(getattr(self, "optimizer_", None)) is not kind:
            self.optimizer_ = kind()
        self.optimizer_.alpha, self.optimizer_.weight_decay = self.alpha, self.weight_decay

    def _build(self, X: Array, w: np.ndarray | None, seed: int, *, in_parts: bool) -> None:
        """Make the network, and what its inputs are standardized by."""
        self._made_with = self._shaping()
        activation, loss = self._head()
        if self.model is None:
            layers: list[Layer] = []
            for width in self._widths():
                layers += [Dense(None, int(width)), ACTIVATIONS[self.activation]()]
                layers += [Dropout(self.dropout)] if self.dropout else []
            layers += [Dense(None, self.n_outputs_), *activation]
            dtype = self._model_dtype(X, in_parts)
            self.model_ = Sequential(layers, backend=self.backend, dtype=dtype, seed=seed)
        elif isinstance(self.model, Sequential):
            self.model_ = copy.deepcopy(self.model)
        else:
            self.model_ = self.model(X.shape[1], self.n_outputs_)
            checked.instance(self.model_, Sequential, "what model gives", "Sequential([...])")
        model = self.model_
        try:
            model.decide(X)
        except ValueError:  # a device that no backend has: the host computes
            model.to("numpy")
        if self.standardize and model.norm is None:
            model.norm = standard(X, w)
        model.runner.build_for(self._readable(X))
        if model.shape_out != (self.n_outputs_,):
            raise ValueError(
                f"the model gives outputs of shape {model.shape_out}, but y needs "
                f"({self.n_outputs_},)"
            )
        model.chain = copy.deepcopy(self.loss) if self.loss is not None else model.chain or loss
        if isinstance(self.optimizer, Optimizer):
            self.optimizer_ = copy.deepcopy(self.optimizer)
        elif self.optimizer != "lbfgs":
            self.optimizer_ = OPTIMIZERS[self.optimizer]()
            self._take_optimizer(self.optimizer)

    def _train(
        self,
        X: Array,
        t: np.ndarray,
        w: np.ndarray | None,
        y: np.ndarray,
        epochs: int,
        rng: np.random.RandomState,
    ) -> History:
        """Train the network for so many epochs, or until it is good."""
        if self.optimizer == "lbfgs":
            history = lbfgs.fit(
                self.model_,
                X,
                t,
                w,
                iterations=epochs or self.epochs,
                weight_decay=self.weight_decay,
                tolerance=self._tolerance(1e-4) or 0.0,
            )
            self._warn_unless(history, bool(history.stopped) or bool(epochs))
            return history
        validation: Any = None
        if self.early_stopping and not epochs:
            stratify = y if isinstance(self, ClassifierMixin) and y.ndim == 1 else None
            parts = np.arange(len(t))
            parts, left = train_test_split(
                parts,
                test_size=self.validation_fraction,
                random_state=rng,
                stratify=stratify,
            )
            x_left, X = rows_of(X, left), rows_of(X, parts)
            validation = (x_left, t[left]) if w is None else (x_left, t[left], w[left])
            t, w = t[parts], None if w is None else w[parts]
        size = 100 if self.batch_size == "auto" else int(self.batch_size)
        callbacks = list(self.callbacks)
        tolerance = self._tolerance(self.enough)
        if not epochs and tolerance is not None:
            watched = "val_loss" if validation is not None else "loss"
            callbacks.append(
                EarlyStopping(
                    self.patience,
                    watched,
                    min_delta=tolerance,
                    restore_best=validation is not None,
                )
            )
        history = self.model_.fit(
            X,
            t,
            w=w,
            epochs=epochs or self.epochs,
            batch_size=min(size, len(t)),
            validation_data=validation,
            optimizer=self.optimizer_,
            callbacks=callbacks,
            progress=bool(self.verbose),
        )
        self._warn_unless(history, history.stopped is not None or bool(epochs) or self.tol is None)
        return history

    def _tolerance(self, automatic: float) -> float | None:
        """Return `tol` as a number; None where training goes on to its last epoch."""
        return automatic if isinstance(self.tol, str) else self.tol

    def _warn_unless(self, history: History, converged: bool) -> None:
        if not converged and not history.interrupted:
            warnings.warn(
                f"the loss was still falling after {self.epochs} epochs: give more epochs, or a "
                "larger tol",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _check_arguments(self) -> None:
        """Raise the error for an argument of the wrong kind; a constructor may look at none."""
        for width in self._widths():
            checked.integer(width, "hidden", 1)
        checked.word(self.activation, "activation", tuple(ACTIVATIONS))
        checked.fraction(self.dropout, "dropout")
        if self.model is not None and not isinstance(self.model, Sequential):
            checked.function(self.model, "model", ("features", "outputs"))
        if self.loss is not None:
            checked.instance(self.loss, LossLayer, "loss", "HuberLoss()")
        if not isinstance(self.optimizer, Optimizer):
            checked.word(self.optimizer, "optimizer", (*OPTIMIZERS, "lbfgs"), " or an Optimizer")
        checked.positive(self.alpha, "alpha")
        checked.not_negative(self.weight_decay, "weight_decay")
        if isinstance(self.batch_size, str):
            checked.word(self.batch_size, "batch_size", ("auto",), " or a number")
        else:
            checked.integer(self.batch_size, "batch_size", 1)
        checked.integer(self.epochs, "epochs", 1)
        if isinstance(self.tol, str):
            checked.word(self.tol, "tol", ("auto",), ", a number or None")
        elif self.tol is not None:
            checked.not_negative(self.tol, "tol")
        checked.integer(self.patience, "patience", 1)
        checked.fraction(self.validation_fraction, "validation_fraction")
        checked.word(self.dtype, "dtype", ("auto", "float32", "float64"))
        for name in ("early_stopping", "standardize", "warm_start"):
            checked.flag(getattr(self, name), name)
        if not isinstance(self.verbose, (bool, np.bool_, int)):  # scikit-learn's are numbers, too
            checked.flag(self.verbose, "verbose")
        checked.sequence(self.callbacks, "callbacks", "callbacks")
        try:
            check_random_state(self.random_state)
        except ValueError:
            shown = checked.shown(self.random_state)
            raise ValueError(
                f"random_state must be None, an int or a RandomState, not {shown}"
            ) from None

    def _widths(self) -> list[Any]:
        """Return the width of each hidden layer; a number alone is one."""
        if isinstance(self.hidden, numbers.Integral):
            return [self.hidden]
        return checked.sequence(self.hidden, "hidden", "widths")

    def _model_dtype(self, X: Array, in_parts: bool) -> str:
        """Return in what a new network computes, for data that may be only a part of all."""
        if self.dtype != "auto":
            return self.dtype
        is_exact = (
            self.optimizer == "lbfgs"
            or (not in_parts and math.prod(X.shape) < FEW)
            or (not self.standardize and isinstance(X, np.ndarray) and merges(X).any())
        )
        return "float64" if is_exact else "float32"

    def _outputs(self, X: Any, method: str) -> Array:
        """Return what the network gives for raw inputs, where they are."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=floats_of(X), reset=False)
        X = X.toarray() if hasattr(X, "toarray") else X
        check_same_place(self._origin, X, f"{type(self).__name__}.{method}")
        return as_beside(X, self.model_.predict(self._readable(X)))

    def _readable(self, X: Array) -> Array:
        """Return inputs as arrays of the network's library, or of NumPy."""
        return X if self.model_.backend.owns(X) else on_host(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags
