"""Derivatives looked at: what backward gives, against central differences in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from npnn import checked
from npnn.arrays import Array
from npnn.backends.host import host_array
from npnn.errors import GradientError
from npnn.layers.layer import Layer
from npnn.losses import LossLayer
from npnn.network import links_of
from npnn.trees import leaves, mapped, place

STEPS = 1e-5, 1e-6, 1e-7  # relative ones: what is right is so by one of them
NEAR = 1e-5  # relative
EACH = 64  # the most numbers of an array that are looked at one by one


def check_gradients(
    of: Layer,
    x: Any = None,
    t: Any = None,
    *,
    batch_size: int = 3,
    training: bool = True,
    seed: int = 0,
) -> dict[str, float]:
    r"""Compare the derivatives of a layer, a loss or a model with central differences.

    For each input and each parameter :math:`\theta`, and random weights g of the outputs,

    .. math::

        \sum g \, \frac{\partial y}{\partial \theta_i} \approx
            \sum g \, \frac{y(\theta_i + h) - y(\theta_i - h)}{2 h}

    Layers within layers, and all that is chained to a model, are looked at each by itself, with
    what comes to them there; so the one whose derivative is wrong is named, and not those before
    it. All is computed with NumPy in float64, on copies: nothing of what is given is changed.

    Parameters
    ----------
    of : Layer, LossLayer or Sequential
        One of the package or of one's own; it need not be built.
    x : array_like, or dict or tuple of them, optional
        A batch of inputs; random ones of its `shape_in` if None. Layers that take integers need
        them. For a loss: the outputs that it judges.
    t : array_like, optional
        Targets of a loss; random ones if None.
    batch_size : int, default 3
        Samples of random inputs.
    training : bool, default True
        Whether layers do what they do in training. Those that are random draw once.
    seed : int, default 0
        Of all that is random.

    Returns
    -------
    dict of str to float
        The largest relative error for each input and parameter, by its place.

    Raises
    ------
    npnn.GradientError
        If a derivative is wrong. It names the place, the parameter or input, the index, what
        backward gave and what central differences say. Where a function has a kink, such as ReLU
        at 0, what lies between the slopes of both sides is right.
    TypeError
        If it is no layer.
    ValueError
        If the shape of the inputs is not known, or they are integers and were not given.

    Examples
    --------
    >>> import npnn
    >>> errors = npnn.check_gradients(npnn.Dense(3, 2))
    >>> sorted(errors)
    ['b', 'w', 'x']
    >>> max(errors.values()) < 1e-6
    True

    Notes
    -----
    Of an array of many numbers all are changed at once, each by a random sign, and where that tells
    of a wrong one it is searched for by halves.
    """
    checked.instance(of, Layer, "what is checked", "Dense(3, 2), a loss or a model", "Layer")
    checked.integer(batch_size, "batch_size", 1)
    rng = np.random.default_rng(checked.seed(seed))
    check = _Check(rng, training)
    if isinstance(of, LossLayer):
        shape = of.shape_in if x is None else np.shape(x)[1:]
        if shape is None:
            raise ValueError(f"the shape of what comes to {of!r} is not known: give x")
        y = _outputs_for(of, (batch_size, *shape), rng) if x is None else _wide(x)
        check.loss("", of, y, t)
    else:
        check.chain(of, x, t, batch_size)
    if check.wrong:
        raise GradientError("\n".join(check.wrong))
    return check.errors


class _Check:
    """What was found so far."""

    def __init__(self, rng: np.random.Generator, training: bool) -> None:
        self.rng, self.training = rng, training
        self.errors: dict[str, float] = {}
        self.wrong: list[str] = []
        self._wrong_places: list[str] = []
        self._logits: Any = None  # what came to the last layer

    def chain(self, first: Any, x: Any, t: Any, batch_size: int) -> None:
        """Look at a layer or a model, and what is chained to it."""
        norm, x_shape = getattr(first, "norm", None), None
        if x is not None:
            x = _batch(x, keep=first.takes_integers)
            x = x if norm is None else norm(x)
            x_shape = mapped(x, lambda array: array.shape[1:])
        for number, link in enumerate(links_of(first) if hasattr(first, "chain") else [first]):
            start = f"{number}" if number else ""
            if isinstance(link, LossLayer):
                self.loss(start, link, x, t, self._logits)
                continue
            shape = x_shape if number == 0 else x.shape[1:]
            ready = self._ready(link, link.shape_in if shape is None else shape)
            if x is None:
                x = self._inputs(link, ready, batch_size)
                ready = self._ready(link, mapped(x, lambda a: a.shape[1:]), ready)
            x = self._layers(start, ready, x)

    def _ready(self, layer: Layer, shape: Any, built: Layer | None = None) -> Layer:
        """Return a twin in float64 that is built, and whose parts have random numbers."""
        ready = layer.twin() if built is None else built
        if not ready.is_built:
            if shape is None:
                raise ValueError(f"the shape of what comes to {layer!r} is not known: give x")
            for _, part in ready.walk():
                vars(part)["dtype"] = "float64"
            ready.build(shape, self.rng)
        elif shape is not None:
            ready.accept(shape)
        for _, part in ready.walk():
            vars(part).update(dtype="float64", training=self.training)
            for name in (*part.parameter_names, *part.state_names):
                vars(part)[name] = _wide(getattr(part, name))
            for name in part.parameter_names:
                array = vars(part)[name]
                if array.size and np.all(array == array.flat[0]):  # as biases of 0: often a kink
                    vars(part)[name] = array + 0.1 * self.rng.standard_normal(array.shape)
        return ready

    def _inputs(self, layer: Layer, ready: Layer, batch_size: int) -> Any:
        """Return random inputs, where none were given."""
        if layer.takes_integers:
            raise ValueError(f"{layer!r} takes integers, which are not known: give x")

        def drawn(shape: Any) -> Any:
            if isinstance(shape, dict):
                return {key: drawn(part) for key, part in shape.items()}
            if any(isinstance(part, (tuple, dict)) for part in shape):
                return tuple(drawn(part) for part in shape)
            return self.rng.standard_normal((batch_size, *(4 if n is None else n for n in shape)))

        return drawn(ready.shape_in)

    def _layers(self, start: str, root: Layer, x: Any) -> Any:
        """Look at a layer's parts and then at itself; return what it gives."""
        count = next(leaves(x))[1].shape[0]
        for _, part in root.walk():
            if part.noise is not None:
                draw = self.rng.random if part.noise == "uniform" else self.rng.standard_normal
                vars(part)["random"] = draw((count, *part.noise_shape))
        came: dict[str, Any] = {}
        seen = root.twin()
        for name, part in seen.walk():
            vars(part)["forward"] = _noting(part.forward, name, came)
        y = seen.forward(x)
        parts = [(name, part) for name, part in root.walk() if name in came]
        self._logits = came[parts[-1][0]]
        for name, part in reversed(parts):
            where = ".".join(filter(None, (start, name)))
            within = f"{where}." if where else ""
            if not any(wrong.startswith(within) for wrong in self._wrong_places):
                self._layer(where, part, came[name])
        return y

    def _layer(self, where: str, layer: Layer, x: Any) -> None:
        """Look at all derivatives of one layer, given what comes in."""
        work = layer.twin()
        y = np.asarray(work.forward(x))
        g = self.rng.standard_normal(y.shape)
        grad_x = work.backward(g)

        given = dict(leaves(grad_x))
        for path, array in leaves(x):
            if array.dtype.kind == "f" and not (grad_x is None and layer.takes_integers):

                def of_input(value: Array, path: Any = path) -> Array:
                    return layer.twin().forward(_replaced(x, path, value))

                what = f"input{place(path)}" if path else "input"
                self._compare(where, layer, what, array, given.get(path), of_input, g)
        for number, ((name, part), (_, worked)) in enumerate(
            zip(layer.walk(), work.walk(), strict=True)
        ):
            for parameter in part.parameter_names:

                def of_parameter(value: Array, at: int = number, name: str = parameter) -> Array:
                    twin = layer.twin()
                    vars([part for _, part in twin.walk()][at])[name] = value
                    return twin.forward(x)

                left, array = vars(worked).get(f"grad_{parameter}"), getattr(part, parameter)
                what = f"{name}.{parameter}" if name else parameter
                self._compare(where, layer, what, array, left, of_parameter, g)

    def loss(self, where: str, given_loss: LossLayer, y: Any, t: Any, logits: Any = None) -> None:
        """Look at a loss's derivative by its outputs, and by the logits where it knows them."""
        loss: Any = given_loss.twin()
        loss.build(y.shape[1:])
        t = _targets_for(loss, y.shape, self.rng) if t is None else _targets(loss, t, y.shape)
        loss.look_at(t)
        ways: list[tuple[str, Any, Callable[[Any], tuple[Any, Any]]]] = [
            ("derivative", y, lambda y: (y, None))
        ]
        if loss.canonical_activation is not None:
            activation = loss.canonical_activation()
            logits = self.rng.standard_normal(y.shape) if np.shape(logits) != y.shape else logits
            ways.append(("canonical_derivative", logits, lambda x: (activation.forward(x), x)))
        for name, array, given in ways:

            def values(array: Array, given: Any = given) -> Array:
                work = _fresh(loss)
                outputs, logits = given(array)
                work.measure(outputs, t, None, logits)
                return work.loss / len(outputs)

            work = _fresh(loss)
            outputs, of = given(array)
            work.measure(outputs, t, None, of)
            self._compare(where, loss, name, array, work.backward(), values, np.ones(y.shape))

    def _compare(
        self,
        where: str,
        layer: Layer,
        what: str,
        array: Array,
        given: Any,
        function: Callable[[Array], Array],
        weights: np.ndarray,
    ) -> None:
        """Compare a gradient with the slopes of a function of an array, its outputs weighed."""
        name = ".".join(filter(None, (where, "x" if what == "input" else what)))
        if given is None or np.shape(given) != array.shape:
            shown = "none" if given is None else f"one of shape {np.shape(given)}"
            found: str = f": backward gave {shown}, and shape {array.shape} is needed"
        else:
            slopes = _Slopes(np.asarray(array, np.float64), np.asarray(given), function, weights)
            error, found = _first_wrong(slopes, self.rng)
            self.errors[name] = error
        if found:
            who = f"layer {where}, {type(layer).__name__}" if where else type(layer).__name__
            by = f"by its {what}" if what.startswith("input") else f"by its parameter {what!r}"
            if isinstance(layer, LossLayer):
                who = f"link {where}, {type(layer).__name__}" if where else type(layer).__name__
                by = "by its outputs" if what == "derivative" else "by the logits"
                by += f" ({what})"
            self.wrong.append(f"{who}: the derivative {by} is wrong{found}")
            self._wrong_places.append(f"{where}." if where else "")


class _Slopes(NamedTuple):
    """A gradient, and the function that it should be of, whose outputs are summed by weights."""

    array: np.ndarray
    gradient: np.ndarray
    function: Callable[[Array], Array]
    weights: np.ndarray

    def at(self, direction: np.ndarray) -> tuple[float, float, float, bool]:
        """Return the slope along a direction by the gradient and by differences.

        With them the relative error, and whether it is more than rounding and kinks explain.
        """
        moving = (direction != 0.0) & np.isfinite(self.array)
        given = float(np.sum(self.gradient[moving] * direction[moving]))
        size = float(np.abs(self.array[moving]).max(initial=0.0)) or 1.0
        middle = self.function(self.array)
        rounding = self._rounding(middle) / (size * STEPS[0])
        least = max(1e-3 * float(np.abs(self.gradient).max(initial=0.0)), rounding / NEAR)
        best = given, np.nan, np.inf, True
        for step in (size * relative for relative in STEPS):
            above, below = (
                self.function(np.where(moving, self.array + sign * step * direction, self.array))
                for sign in (1.0, -1.0)
            )
            slope = self._change(above, below) / (2.0 * step)
            sides = self._change(above, middle) / step, self._change(middle, below) / step
            scale = max(abs(given), abs(slope), least)
            off, at_kink = abs(given - slope), min(sides) <= given <= max(sides)
            error = min(off, NEAR * scale if at_kink else off) / scale if scale else 0.0
            if np.isnan(best[1]) or error < best[2]:
                best = given, slope, error, not (at_kink or error <= NEAR)
            if not best[3]:
                break
        return best

    def _change(self, above: Array, below: Array) -> float:
        with np.errstate(invalid="ignore"):  # infinities that stay
            return float(np.sum(self.weights * np.where(above == below, 0.0, above - below)))

    def _rounding(self, y: Array) -> float:
        """Return what the sum of the outputs may be off by."""
        finite = np.where(np.isfinite(y), y, 0.0)
        return 8.0 * float(np.finfo(np.float64).eps * np.sum(np.abs(self.weights * finite)))


def _first_wrong(slopes: _Slopes, rng: np.random.Generator) -> tuple[float, str]:
    """Return the largest relative error, and what is wrong if that is."""
    shape, size = slopes.array.shape, slopes.array.size
    if size > EACH:
        signs = rng.choice([-1.0, 1.0], size)
        _, _, error, is_wrong = slopes.at(signs.reshape(shape))
        if not is_wrong:
            return error, ""
        among, count = _search(slopes, signs), ""
    else:
        each = [slopes.at(_unit(shape, [n])) for n in range(size)]
        errors, wrong = [error for *_, error, _ in each], sum(found[3] for found in each)
        if not wrong:
            return max(errors, default=0.0), ""
        among = [max(range(size), key=lambda n: (each[n][3], errors[n]))]
        count = f"; {wrong} of {size} are wrong"
    given, slope, error, _ = slopes.at(_unit(shape, among))
    index = tuple(int(n) for n in np.unravel_index(among[0], shape))
    return error, (
        f" at index {index}: backward gives {given:.6g}, and central differences {slope:.6g}{count}"
    )


def _search(slopes: _Slopes, signs: np.ndarray) -> list[int]:
    """Return the number, in the order of the array, of one that is wrong."""
    among = np.arange(len(signs))
    while len(among) > 1:
        halves = np.array_split(among, 2)
        errors = []
        for half in halves:
            direction = np.zeros(len(signs))
            direction[half] = signs[half]
            *_, error, is_wrong = slopes.at(direction.reshape(slopes.array.shape))
            errors.append((is_wrong, error))
        among = halves[errors.index(max(errors))]
    return [int(among[0])]


def _unit(shape: tuple[int, ...], among: list[int]) -> np.ndarray:
    direction = np.zeros(int(np.prod(shape)))
    direction[among] = 1.0
    return direction.reshape(shape)


def _noting(forward: Callable[[Any], Any], name: str, came: dict[str, Any]) -> Callable[[Any], Any]:
    """Return a forward that notes what came in for the first time."""

    def noted(x: Any) -> Any:
        came.setdefault(name, x)
        return forward(x)

    return noted


def _fresh(loss: LossLayer) -> LossLayer:
    work: Any = loss.twin()
    work.reset()
    return work  # type: ignore[no-any-return]


def _replaced(tree: Any, path: tuple[Any, ...], value: Array) -> Any:
    """Return inputs with another array at a path."""
    known = dict(leaves(tree))
    arrays: Iterator[Any] = iter([value if each == path else a for each, a in known.items()])
    return mapped(tree, lambda _: next(arrays))


def _batch(x: Any, keep: bool) -> Any:
    """Return inputs as arrays of NumPy, in the dict or tuple that they came in."""
    if isinstance(x, dict):
        return {key: _batch(part, keep) for key, part in x.items()}
    if isinstance(x, tuple) and any(hasattr(part, "shape") for part in x):
        return tuple(_batch(part, keep) for part in x)
    return _wide(x, keep)


def _wide(value: Any, keep: bool = False) -> np.ndarray:
    """Return an array of NumPy in float64; integers stay such if they shall."""
    array = np.asarray(host_array(value))
    return array if keep and array.dtype.kind in "iu" else array.astype(np.float64)


def _outputs_for(loss: LossLayer, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return outputs that a loss has use for."""
    y = rng.standard_normal(shape)
    if loss.needs == "probabilities":
        return np.asarray(np.exp(y) / np.exp(y).sum(axis=-1, keepdims=True))
    return 1.0 / (1.0 + np.exp(-y)) if loss.needs or not loss.needs_targets else y


def _targets_for(loss: LossLayer, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return targets that a loss has use for."""
    if loss.takes_classes:
        return np.eye(shape[-1])[rng.integers(shape[-1], size=shape[:-1])]
    return rng.uniform(0.0, 1.0, shape) if loss.needs else rng.standard_normal(shape)


def _targets(loss: LossLayer, t: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(host_array(t))
    return np.asarray(loss.prepare_targets(array, shape[1:], np.dtype(np.float64)))
