"""What is chosen on the page: a problem, a network, how it is trained; each choice looked at."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from dataclasses import dataclass
from typing import Any

from npnn import backends

ACTIVATIONS = ("Tanh", "ReLU", "LeakyReLU", "Sigmoid", "Swish", "Softplus", "Linear")
OPTIMIZERS = ("Adam", "AdamW", "SGD", "GradientDescent", "RMSprop", "Adagrad", "Adadelta")
MOST_LAYERS, MOST_UNITS, MOST_BATCH = 6, 64, 1024
MOST_FILTERS = 2  # convolutions in front of them, where images come in

Hidden = tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Problem:
    """A data set, and what suits it at the beginning.

    Attributes
    ----------
    title : str
        What the page calls it.
    dataset : str
        The name of the class in :mod:`npnn.datasets`.
    noise : float
        The standard deviation of its noise at the beginning.
    most_noise : float
        The largest that can be chosen.
    hidden, alpha, batch_size
        A network, a rate and a size of batches that learn it.
    is_made : bool
        Whether its data are made, with their noise; what is given gets it in addition, in units of
        its own standard deviation.
    """

    title: str
    dataset: str
    noise: float
    most_noise: float
    hidden: Hidden
    alpha: float = 0.01
    batch_size: int = 16
    is_made: bool = True


PROBLEMS = {
    "xor": Problem("Exclusive or", "XORTwoClasses", 0.15, 0.5, ((4, "Tanh"), (4, "Tanh"))),
    "xor-one-output": Problem("One output", "XORBinClasses", 0.15, 0.5, ((6, "Tanh"),), 0.02),
    "clusters": Problem("Two clouds", "Clusters", 0.6, 2.0, ((3, "Tanh"),)),
    "circles": Problem("Circles", "Circles", 0.05, 0.3, ((6, "Tanh"),)),
    "spirals": Problem("Spirals", "Spirals", 0.02, 0.2, ((8, "Tanh"), (8, "Tanh"))),
    "sine": Problem("Sine", "NoisySine", 0.1, 0.6, ((8, "Tanh"), (4, "Tanh"))),
    "line": Problem("Line", "NoisyLinear", 0.1, 0.6, ()),
    "digits": Problem("Digits", "Digits", 0.0, 2.0, ((16, "ReLU"),), 0.003, 32, is_made=False),
    "table": Problem("Your CSV", "Table", 0.0, 1.0, ((8, "Tanh"),), is_made=False),
}
PENALTIES = ("none", "l2", "l1")


@dataclass(frozen=True)
class Chosen:
    """All that is chosen on the page.

    Attributes
    ----------
    problem : str
        A name in :data:`PROBLEMS`.
    noise, validation : float
        Of the data: the standard deviation of the noise, and the share that is validated on.
    hidden : tuple of (int, str)
        The units and the activation of each hidden layer.
    filters : tuple of (int, str)
        The channels and the activation of each convolution in front of them; of images only.
    batch_size, optimizer, alpha, penalty, penalty_weight, backend, seed
        How it is trained.
    columns : tuple of str
        Of a table: the two columns that are the inputs; all of them, projected, if empty.
    """

    problem: str = "xor"
    noise: float = 0.15
    validation: float = 0.3
    batch_size: int = 16
    hidden: Hidden = ((4, "Tanh"), (4, "Tanh"))
    optimizer: str = "Adam"
    alpha: float = 0.01
    penalty: str = "none"
    penalty_weight: float = 0.001
    backend: str = "numpy"
    seed: int = 0
    columns: tuple[str, ...] = ()
    filters: Hidden = ()

    def changed(self, given: dict[str, Any]) -> Chosen:
        """Return what is chosen after a change; another problem brings what suits it.

        Raises
        ------
        ValueError
            If there is no such choice; the message names it.
        """
        names = {field.name for field in dataclasses.fields(self)}
        for name in given:
            if name not in names:
                raise ValueError(f"there is no choice {name!r}; there are {', '.join(names)}")
        found = dict(given)
        if "problem" in given:
            _one_of(given["problem"], tuple(PROBLEMS), "problem")
            if given["problem"] != self.problem:
                problem = PROBLEMS[given["problem"]]
                suited = {"hidden": problem.hidden, "alpha": problem.alpha, "columns": ()}
                suited |= {"batch_size": problem.batch_size, "noise": problem.noise, "filters": ()}
                found = {**suited, **found}
        new = dataclasses.replace(self, **{n: _LOOKS[n](value, n) for n, value in found.items()})
        if new.filters and new.problem != "digits":
            raise ValueError(f"filters: {new.problem} has no images to be convolved")
        return new

    def differs_in(self, other: Chosen) -> set[str]:
        """Return the names of the choices in which another differs."""
        return {
            field.name
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
        }


def _one_of(value: Any, known: tuple[str, ...], name: str) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
    return value


def _number(least: float, most: float, *, above: bool = False) -> Any:
    def look(value: Any, name: str) -> float:
        is_number = type(value) in (int, float) and math.isfinite(value)
        if not is_number or not least <= value <= most or (above and value == least):
            word = "above" if above else "from"
            raise ValueError(f"{name} must be a number {word} {least:g} to {most:g}, not {value!r}")
        return float(value)

    return look


def _whole(least: int, most: int) -> Any:
    def look(value: Any, name: str) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{name} must be a whole number from {least} to {most}, not {value!r}")
        return value

    return look


def _layers(most: int) -> Any:
    def look(value: Any, name: str) -> Hidden:
        if not isinstance(value, (list, tuple)) or len(value) > most:
            raise ValueError(f"{name} must be a list of at most {most} layers, not {value!r}")
        found = []
        for number, layer in enumerate(value):
            if not isinstance(layer, (list, tuple)) or len(layer) != 2:
                raise ValueError(f"{name}[{number}] must be [units, activation], not {layer!r}")
            units = _whole(1, MOST_UNITS)(layer[0], f"the units of {name}[{number}]")
            activation = _one_of(layer[1], ACTIVATIONS, f"the activation of {name}[{number}]")
            found.append((units, activation))
        return tuple(found)

    return look


def _columns(value: Any, name: str) -> tuple[str, ...]:
    is_list = isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value)
    if not is_list or len(value) not in (0, 2) or len(set(value)) != len(value):
        raise ValueError(f"{name} must be the names of two columns, or none, not {value!r}")
    return tuple(value)


def installed_backends() -> tuple[str, ...]:
    """Return the backends whose libraries are there; whether they work is seen when one is used."""
    return tuple(name for name in backends.names() if importlib.util.find_spec(name) is not None)


def _backend(value: Any, name: str) -> str:
    return _one_of(value, installed_backends(), name)


_LOOKS: dict[str, Any] = {
    "problem": lambda value, name: _one_of(value, tuple(PROBLEMS), name),
    "noise": _number(0.0, 2.0),
    "validation": _number(0.05, 0.9),
    "batch_size": _whole(1, MOST_BATCH),
    "hidden": _layers(MOST_LAYERS),
    "filters": _layers(MOST_FILTERS),
    "optimizer": lambda value, name: _one_of(value, OPTIMIZERS, name),
    "alpha": _number(0.0, 100.0, above=True),
    "penalty": lambda value, name: _one_of(value, PENALTIES, name),
    "penalty_weight": _number(0.0, 10.0),
    "backend": _backend,
    "seed": _whole(0, 2**32 - 1),
    "columns": _columns,
}
