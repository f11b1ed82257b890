"""Networks as scikit-learn's estimators, to stand wherever one of those does.

Importing npnn does not import this file, nor scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from npnn import labels
from npnn.arrays import Array, array_namespace
from npnn.callbacks import Callback
from npnn.dispatched import as_beside, on_host, standard
from npnn.estimator import NetworkEstimator
from npnn.guided import guided
from npnn.layers import Layer, Sigmoid, Softmax
from npnn.losses import BinaryCrossEntropyLoss, CrossEntropyLoss, LossLayer, RMSLoss
from npnn.model import Sequential
from npnn.optimizers import Optimizer


class NetworkClassifier(ClassifierMixin, NetworkEstimator):  # type: ignore[misc]
    """A network for classes: two or more, or of several labels each that may be true.

    Parameters
    ----------
    hidden : int or sequence of int, default (100,)
        Units of each hidden layer; a number is that of the only one.
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
        Samples of one step; 100, or all if there are fewer.
    epochs : int, default 200
        Passes over the data, at most.
    tol : float, "auto" or None, default "auto"
        What the loss must fall by within `patience` epochs for training to go on; None: it does.
        ``"auto"`` is 5e-3, of a regression 1e-3. L-BFGS ends where no element of the gradient is
        larger than `tol`, then 1e-4.
    patience : int, default 10
        Epochs.
    early_stopping : bool, default False
        Whether to watch the loss of samples that are not trained on, and end with the best epoch.
        L-BFGS takes all samples.
    validation_fraction : float, default 0.1
        Share of those samples.
    standardize : bool, default True
        Whether the network begins with each feature brought to mean 0 and deviation 1.
    class_weight : dict or "balanced", optional
        How much each class counts.
    random_state : int, RandomState or None
        Makes the initial weights and the order of batches repeatable.
    warm_start : bool, default False
        Whether `fit` goes on with the network that is there, with the `alpha` and `weight_decay` of
        now; what shaped the network stays as it was.
    backend : str, default "auto"
        ``npnn.backends.available()`` lists them; ``"auto"`` is that of the data: NumPy, or with
        ``sklearn.set_config(array_api_dispatch=True)`` the library and the device of `X`, which
        predictions are of, too.
    dtype : str, default "auto"
        What the network computes in, ``"float32"`` or ``"float64"``. ``"auto"`` is float32, but
        float64 for L-BFGS, where `fit` is given so few numbers (16384) that it takes no longer, and
        for features that are not standardized and have values that float32 does not tell apart.
    callbacks : sequence of Callback
        Called at each epoch; not by L-BFGS.
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

    enough = 5e-3

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
        class_weight: dict[Any, float] | str | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        backend: str = "auto",
        dtype: str = "auto",
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
            dtype=dtype,
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

    def predict(self, X: Any) -> Array:
        """Return the label of each sample; of several labels, 1 where one is more likely than not.

        Parameters
        ----------
        X : array_like, shape (samples, features)
            Numbers.

        Returns
        -------
        array, shape (samples,) or (samples, labels)
        """
        y = self._outputs(X, "predict")
        xp = array_namespace(y)
        if self._several_labels:
            return xp.astype(y > 0.5, xp.int64)
        numbers = xp.argmax(y, axis=1)
        if isinstance(self.classes_, np.ndarray):
            return self.classes_[on_host(numbers)]
        return xp.take(self.classes_, numbers, axis=0)

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, in the order of `classes_`.

        Parameters
        ----------
        X : array_like, shape (samples, features)
            Numbers.

        Returns
        -------
        array, shape (samples, classes)
        """
        return self._outputs(X, "predict_proba")

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities.

        Parameters
        ----------
        X : array_like, shape (samples, features)
            Numbers.

        Returns
        -------
        array, shape (samples, classes)
        """
        y = self._outputs(X, "predict_log_proba")
        with np.errstate(divide="ignore"):
            return array_namespace(y).log(y)

    def _note_targets(self, y: np.ndarray, w: np.ndarray | None) -> None:
        check_labels(y)
        check_classification_targets(y)
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise ValueError("several outputs of more than two classes each are not known")
        self._several_labels = kind == "multilabel-indicator"
        given = getattr(self, "_all_classes", None)
        if self._several_labels:
            classes = np.arange(y.shape[1])
        else:
            given = on_host(given) if hasattr(given, "__dlpack__") else given
            classes = unique_labels(y if given is None else given)
        self.classes_ = as_beside(self._origin, classes)
        self.n_outputs_ = len(classes)

    def _targets(self, y: np.ndarray) -> np.ndarray:
        if self._several_labels:
            return y.astype(float)
        classes = on_host(self.classes_)
        unknown = np.setdiff1d(y, classes)
        if unknown.size:
            raise ValueError(f"y has classes that were not there before: {unknown.tolist()}")
        numbers: np.ndarray = np.searchsorted(classes, y)
        return numbers

    def _weights(self, y: np.ndarray, w: np.ndarray | None) -> np.ndarray | None:
        seen = y if w is None or self._several_labels else y[w > 0]
        if not self._several_labels and min(self.n_outputs_, len(np.unique(seen))) < 2:
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


def check_labels(y: np.ndarray) -> None:
    """Raise the error for labels that have no order, such as words and numbers among each other."""
    kinds = {type(label).__name__ for label in y.flat} if y.dtype.kind == "O" else {"str"}
    if len(kinds) > 1 and "str" in kinds:
        hole = labels.hole_among_words(y)
        raise ValueError(f"y: {hole}" if hole else f"y has labels of {' and '.join(sorted(kinds))}")


class NetworkRegressor(RegressorMixin, NetworkEstimator):  # type: ignore[misc]
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

    enough = 1e-3

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

    def predict(self, X: Any) -> Array:
        """Return the number, or the numbers, of each sample.

        Parameters
        ----------
        X : array_like, shape (samples, features)
            Numbers.

        Returns
        -------
        array, shape (samples,) or (samples, outputs)
        """
        y = self._outputs(X, "predict")
        y = y * self.y_scale_ + self.y_mean_
        return y if self._several else y[:, 0]

    def _note_targets(self, y: np.ndarray, w: np.ndarray | None) -> None:
        self._several = y.ndim > 1
        y = y.reshape(len(y), -1).astype(float)
        self.n_outputs_ = y.shape[1]
        norm = standard(y, w)
        self.y_mean_ = as_beside(self._origin, norm.offset)
        self.y_scale_ = as_beside(self._origin, norm.scale)

    def _targets(self, y: np.ndarray) -> np.ndarray:
        mean, scale = on_host(self.y_mean_), on_host(self.y_scale_)
        scaled: np.ndarray = (y.reshape(len(y), -1) - mean) / scale
        return scaled

    def _head(self) -> tuple[list[Layer], LossLayer]:
        return [], RMSLoss()
