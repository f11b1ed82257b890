"""Networks as scikit-learn's estimators, to stand wherever one of those does.

Importing npnn does not import this file, nor scikit-learn.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from npnn import lbfgs
from npnn.callbacks import Callback, EarlyStopping
from npnn.errors import MissingError
from npnn.history import History
from npnn.layers import (
    Dense,
    Dropout,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    Softmax,
    Swish,
    Tanh,
)
from npnn.losses import BinaryCrossEntropyLoss, CrossEntropyLoss, LossLayer, RMSLoss
from npnn.model import Sequential
from npnn.normalization import Normalization
from npnn.optimizers import Adam, AdamW, GradientDescent, Optimizer, RMSprop

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.utils import check_random_state, compute_sample_weight
    from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
    from sklearn.utils.validation import (
        _check_sample_weight,
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
except ImportError as error:
    raise MissingError(
        f"npnn.sklearn needs scikit-learn 1.6 or newer ({error}): pip install 'npnn-xp[sklearn]', "
        "or pip install 'scikit-learn>=1.6'"
    ) from None

ACTIVATIONS: dict[str, Callable[[], Layer]] = {
    "relu": ReLU, "leaky_relu": LeakyReLU, "tanh": Tanh, "sigmoid": Sigmoid, "swish": Swish,
    "linear": Linear,
}  # fmt: skip
OPTIMIZERS: dict[str, type[Optimizer]] = {
    "adam": Adam, "adamw": AdamW, "rmsprop": RMSprop, "gradient_descent": GradientDescent,
}  # fmt: skip


class _Network(BaseEstimator):  # type: ignore[misc]
    """What the two estimators have in common."""

    def __init__(
        self,
        hidden: Sequence[int] = (100,),
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
        tol: float | None = 1e-4,
        patience: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        standardize: bool = True,
        random_state: Any = None,
        warm_start: bool = False,
        backend: str = "numpy",
        callbacks: Sequence[Callback] = (),
        verbose: bool = False,
    ) -> None:
        self.hidden, self.activation, self.dropout = hidden, activation, dropout
        self.model, self.loss = model, loss
        self.optimizer, self.alpha, self.weight_decay = optimizer, alpha, weight_decay
        self.batch_size, self.epochs, self.tol, self.patience = batch_size, epochs, tol, patience
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.standardize, self.random_state, self.warm_start = standardize, random_state, warm_start
        self.backend, self.callbacks, self.verbose = backend, callbacks, verbose

    # What each estimator does its own way ------------------------------------------------------

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
        return self._fit(X, y, sample_weight, new=not (self.warm_start and hasattr(self, "model_")))

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, new: bool, epochs: int = 0) -> Any:
        self._check_arguments()
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=(np.float64, np.float32),
            multi_output=True,
            y_numeric=isinstance(self, RegressorMixin),
            reset=new,
        )
        X = X.toarray() if hasattr(X, "toarray") else X
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        w = self._sample_weight(X, sample_weight)
        if new:
            self._note_targets(y, w)
        t, w = self._targets(y), self._weights(y, w)
        rng = check_random_state(self.random_state)
        if new:
            self._build(X, t, w, int(rng.randint(np.iinfo(np.int32).max)))
        history = self._train(X, t, w, y, epochs, rng)
        if new or (not self.warm_start and not epochs):
            self.history_ = history
        else:
            for name, values in history.items():
                self.history_.setdefault(name, []).extend(values)
        self.loss_curve_ = list(self.history_["loss"])
        self.n_iter_ = len(self.loss_curve_)
        self.loss_ = self.loss_curve_[-1]
        return self

    def _sample_weight(self, X: np.ndarray, given: Any) -> np.ndarray | None:
        if given is None:
            return None
        w: np.ndarray = _check_sample_weight(given, X, dtype=X.dtype, ensure_non_negative=True)
        if not w.any():
            raise ValueError("sample_weight is 0 for all samples: there is nothing to learn from")
        return w

    def _build(self, X: np.ndarray, t: np.ndarray, w: np.ndarray | None, seed: int) -> None:
        """Make the network, and what its inputs are standardized by."""
        activation, loss = self._head()
        if self.model is None:
            layers: list[Layer] = []
            for width in self.hidden:
                layers += [Dense(None, int(width)), ACTIVATIONS[self.activation]()]
                layers += [Dropout(self.dropout)] if self.dropout else []
            layers += [Dense(None, self.n_outputs_), *activation]
            dtype = X.dtype.name
            self.model_ = Sequential(layers, backend=self.backend, dtype=dtype, seed=seed)
        elif isinstance(self.model, Sequential):
            self.model_ = copy.deepcopy(self.model)
        else:
            self.model_ = self.model(X.shape[1], self.n_outputs_)
        model = self.model_
        if self.standardize and model.norm is None:
            model.norm = _standard(X, w)
        model.runner.build_for(X)
        if model.shape_out != (self.n_outputs_,):
            raise ValueError(
                f"the model gives outputs of shape {model.shape_out}, but y needs "
                f"({self.n_outputs_},)"
            )
        model.chain = copy.deepcopy(self.loss) if self.loss is not None else model.chain or loss
        if isinstance(self.optimizer, Optimizer):
            self.optimizer_ = copy.deepcopy(self.optimizer)
        elif self.optimizer != "lbfgs":
            kind = OPTIMIZERS[self.optimizer]
            self.optimizer_ = kind(alpha=self.alpha, weight_decay=self.weight_decay)

    def _train(
        self,
        X: np.ndarray,
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
                tolerance=0.0 if self.tol is None else self.tol,
            )
            self._warn_unless(history, bool(history.stopped) or bool(epochs))
            return history
        validation: Any = None
        if self.early_stopping and not epochs:
            stratify = y if isinstance(self, ClassifierMixin) and y.ndim == 1 else None
            parts = np.arange(len(X))
            parts, left = train_test_split(
                parts,
                test_size=self.validation_fraction,
                random_state=rng,
                stratify=stratify,
            )
            validation = (X[left], t[left]) if w is None else (X[left], t[left], w[left])
            X, t, w = X[parts], t[parts], None if w is None else w[parts]
        size = min(200, len(X)) if self.batch_size == "auto" else int(self.batch_size)
        callbacks = list(self.callbacks)
        if not epochs and self.tol is not None:
            watched = "val_loss" if validation is not None else "loss"
            callbacks.append(
                EarlyStopping(
                    self.patience,
                    watched,
                    min_delta=self.tol,
                    restore_best=validation is not None,
                )
            )
        history = self.model_.fit(
            X,
            t,
            w=w,
            epochs=epochs or self.epochs,
            batch_size=min(size, len(X)),
            validation_data=validation,
            optimizer=self.optimizer_,
            callbacks=callbacks,
            progress=bool(self.verbose),
        )
        self._warn_unless(history, history.stopped is not None or bool(epochs) or self.tol is None)
        return history

    def _warn_unless(self, history: History, converged: bool) -> None:
        if not converged and not history.interrupted:
            warnings.warn(
                f"the loss was still falling after {self.epochs} epochs: give more epochs, or a "
                "larger tol",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _check_arguments(self) -> None:
        names = {"activation": ACTIVATIONS, "optimizer": [*OPTIMIZERS, "lbfgs"]}
        for name, known in names.items():
            value = getattr(self, name)
            if isinstance(value, str) and value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
        if isinstance(self.batch_size, str) and self.batch_size != "auto":
            raise ValueError(f"batch_size must be a number or 'auto', not {self.batch_size!r}")

    def _outputs(self, X: Any) -> np.ndarray:
        """Return what the network gives for raw inputs."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)
        X = X.toarray() if hasattr(X, "toarray") else X
        y: np.ndarray = self.model_.backend.to_numpy(self.model_.predict(X))
        return y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class NetworkClassifier(ClassifierMixin, _Network):  # type: ignore[misc]
    """A network for classes: two or more, or of several labels each that may be true.

    Parameters
    ----------
    hidden : sequence of int, default (100,)
        Units of each hidden layer.
    activation : str, default "relu"
        Of the hidden layers: ``"relu"``, ``"leaky_relu"``, ``"tanh"``, ``"sigmoid"``, ``"swish"``
        or ``"linear"``.
    dropout : float, default 0
        Share of the hidden units that are left out in each step.
    model : Sequential or callable, optional
        Instead of `hidden`: a network, of which each fit trains a copy, or what makes one of the
        numbers of inputs and outputs. It ends with Softmax; for several labels with Sigmoid.
    loss : LossLayer, optional
        By default the cross entropy.
    optimizer : str or Optimizer, default "adam"
        ``"adam"``, ``"adamw"``, ``"rmsprop"``, ``"gradient_descent"``, or ``"lbfgs"``: all samples
        at once, which suits hundreds of them.
    alpha : float, default 1e-3
        Learning rate; L-BFGS finds its own.
    weight_decay : float, default 1e-4
        Weight of the squares of the parameters.
    batch_size : int or "auto", default "auto"
        Samples of one step; 200, or all if there are fewer.
    epochs : int, default 200
        Passes over the data, at most.
    tol : float or None, default 1e-4
        What the loss must fall by within `patience` epochs for training to go on; None: it does.
    patience : int, default 10
        Epochs.
    early_stopping : bool, default False
        Whether to watch the loss of samples that are not trained on, and end with the best epoch.
    validation_fraction : float, default 0.1
        Share of those samples.
    standardize : bool, default True
        Whether the network begins with each feature brought to mean 0 and deviation 1.
    class_weight : dict or "balanced", optional
        How much each class counts.
    random_state : int, RandomState or None
        Makes the initial weights and the order of batches repeatable.
    warm_start : bool, default False
        Whether `fit` goes on with the network that is there.
    backend : str, default "numpy"
        ``npnn.backends.available()`` lists them.
    callbacks : sequence of Callback
        Called at each epoch.
    verbose : bool, default False
        Whether to show a progress bar.

    Attributes
    ----------
    classes_ : array
        The labels, in the order of the outputs.
    model_ : Sequential
        The network: save it, export it.
    history_ : History
        The metrics of each epoch.
    loss_curve_ : list of float
        The loss of each epoch.
    loss_ : float
        The last of them.
    n_iter_ : int
        Epochs, or iterations of L-BFGS.
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : array of str
        Their names, where the data have such.
    n_outputs_ : int
        Outputs of the network.

    Examples
    --------
    >>> from npnn.sklearn import NetworkClassifier
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], ["same", "other", "other", "same"]
    >>> network = NetworkClassifier((8,), activation="tanh", optimizer="lbfgs", random_state=0)
    >>> list(network.fit(X, y).predict(X))
    ['same', 'other', 'other', 'same']
    """

    def __init__(
        self,
        hidden: Sequence[int] = (100,),
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
        tol: float | None = 1e-4,
        patience: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        standardize: bool = True,
        class_weight: dict[Any, float] | str | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        backend: str = "numpy",
        callbacks: Sequence[Callback] = (),
        verbose: bool = False,
    ) -> None:
        super().__init__(
            hidden,
            activation=activation,
            dropout=dropout,
            model=model,
            loss=loss,
            optimizer=optimizer,
            alpha=alpha,
            weight_decay=weight_decay,
            batch_size=batch_size,
            epochs=epochs,
            tol=tol,
            patience=patience,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            standardize=standardize,
            random_state=random_state,
            warm_start=warm_start,
            backend=backend,
            callbacks=callbacks,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> NetworkClassifier:
        """Train for one pass over the data.

        Parameters
        ----------
        X, y, sample_weight : array_like
            As in :meth:`fit`.
        classes : array_like, optional
            All labels there will ever be; needed at the first call, unless `y` has them all.

        Returns
        -------
        self
        """
        new = not hasattr(self, "model_")
        self._all_classes = classes
        try:
            self._fit(X, y, sample_weight, new=new, epochs=1)
        finally:
            del self._all_classes
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of each sample; of several labels, 1 where one is more likely than not.

        Parameters
        ----------
        X : array_like, shape (samples, features)
            Numbers.

        Returns
        -------
        array, shape (samples,) or (samples, labels)
        """
        y = self._outputs(X)
        labels: np.ndarray = self.classes_[y.argmax(axis=1)]
        true: np.ndarray = (y > 0.5).astype(int)
        return true if self._several_labels else labels

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, in the order of `classes_`.

        Parameters
        ----------
        X : array_like, shape (samples, features)
            Numbers.

        Returns
        -------
        array, shape (samples, classes)
        """
        return self._outputs(X)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of the probabilities.

        Parameters
        ----------
        X : array_like, shape (samples, features)
            Numbers.

        Returns
        -------
        array, shape (samples, classes)
        """
        with np.errstate(divide="ignore"):
            logarithms: np.ndarray = np.log(self.predict_proba(X))
        return logarithms

    def _note_targets(self, y: np.ndarray, w: np.ndarray | None) -> None:
        check_classification_targets(y)
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise ValueError("several outputs of more than two classes each are not known")
        self._several_labels = kind == "multilabel-indicator"
        given = getattr(self, "_all_classes", None)
        if self._several_labels:
            self.classes_ = np.arange(y.shape[1])
        else:
            self.classes_ = unique_labels(y) if given is None else unique_labels(given)
        self.n_outputs_ = len(self.classes_)

    def _targets(self, y: np.ndarray) -> np.ndarray:
        if self._several_labels:
            return y.astype(float)
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise ValueError(f"y has classes that were not there before: {unknown.tolist()}")
        numbers: np.ndarray = np.searchsorted(self.classes_, y)
        return numbers

    def _weights(self, y: np.ndarray, w: np.ndarray | None) -> np.ndarray | None:
        seen = y if w is None or self._several_labels else y[w > 0]
        if not self._several_labels and min(len(self.classes_), len(np.unique(seen))) < 2:
            raise ValueError("needs samples of at least 2 classes, but the data have only 1 class")
        if self.class_weight is None:
            return w
        of_class: np.ndarray = compute_sample_weight(self.class_weight, y)
        return of_class if w is None else w * of_class

    def _head(self) -> tuple[list[Layer], LossLayer]:
        if self._several_labels:
            return [Sigmoid()], BinaryCrossEntropyLoss()
        return [Softmax()], CrossEntropyLoss()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class NetworkRegressor(RegressorMixin, _Network):  # type: ignore[misc]
    """A network for numbers: one for each sample, or several.

    Its parameters and attributes are those of :class:`NetworkClassifier`, without `class_weight`
    and `classes_`; the loss is half the squared error, of targets that were brought to mean 0 and
    deviation 1, and a `model` of one's own ends with a Dense layer.

    Attributes
    ----------
    y_mean_, y_scale_ : array
        What the targets were brought to mean 0 and deviation 1 by.

    Examples
    --------
    >>> from npnn.sklearn import NetworkRegressor
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [10.0, 30.0, 50.0, 70.0]
    >>> network = NetworkRegressor((), optimizer="lbfgs", weight_decay=0.0, tol=1e-9)
    >>> network.fit(X, y).predict([[4.0]]).round(3)
    array([90.])
    """

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetworkRegressor:
        """Train for one pass over the data.

        Parameters
        ----------
        X, y, sample_weight : array_like
            As in :meth:`fit`.

        Returns
        -------
        self
        """
        self._fit(X, y, sample_weight, new=not hasattr(self, "model_"), epochs=1)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the number, or the numbers, of each sample.

        Parameters
        ----------
        X : array_like, shape (samples, features)
            Numbers.

        Returns
        -------
        array, shape (samples,) or (samples, outputs)
        """
        y: np.ndarray = self._outputs(X) * self.y_scale_ + self.y_mean_
        return y if self._several else y[:, 0]

    def _note_targets(self, y: np.ndarray, w: np.ndarray | None) -> None:
        self._several = y.ndim > 1
        y = y.reshape(len(y), -1).astype(float)
        self.n_outputs_ = y.shape[1]
        norm = _standard(y, w)
        self.y_mean_, self.y_scale_ = norm.offset, norm.scale

    def _targets(self, y: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = (y.reshape(len(y), -1) - self.y_mean_) / self.y_scale_
        return scaled

    def _head(self) -> tuple[list[Layer], LossLayer]:
        return [], RMSLoss()


def _standard(x: np.ndarray, w: np.ndarray | None) -> Normalization:
    """Return the map to mean 0 and deviation 1, of samples with weights."""
    if w is None:
        return Normalization.standard(x)
    mean = np.average(x, axis=0, weights=w)
    deviation = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=w))
    return Normalization(mean, np.where(deviation <= 1e-12 * np.abs(mean), 0.0, deviation))
