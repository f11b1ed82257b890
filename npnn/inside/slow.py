"""A training step in slow motion: one operation after another, with a sample's numbers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from npnn import checked
from npnn.arrays import Array
from npnn.backends.host import host_array
from npnn.inside.formulas import as_text, blocks_of, formulas_of
from npnn.inside.passes import Pass, looking
from npnn.layers.layer import Layer
from npnn.losses import LossLayer
from npnn.network import Slot
from npnn.optimizers import Adam, Optimizer
from npnn.trees import leaves, len_of, mapped, place

if TYPE_CHECKING:
    import numpy as np

    from npnn.model import Sequential

MOST_NUMBERS = 6  # of a row that is shown


class Operation(NamedTuple):
    """One operation of a step.

    Attributes
    ----------
    phase : str
        ``"forward"``, ``"loss"``, ``"backward"`` or ``"update"``.
    place : str
        Of the layer, or the name of the parameter.
    title : str
        What is computed, such as ``"Dense(2, 4)"``.
    formulas : tuple of str
        In LaTeX, as the docstring has them.
    values : tuple of (str, ndarray)
        The numbers that go in and come out, by the names that the formulas have for them: of one
        sample, but gradients of parameters are of the batch.
    remark : str
        What else there is to say.
    """

    phase: str
    place: str
    title: str
    formulas: tuple[str, ...]
    values: tuple[tuple[str, Any], ...]
    remark: str = ""


def operations(
    model: Sequential, x: Any, t: Any = None, sample: int = 0, optimizer: Optimizer | None = None
) -> list[Operation]:
    """Return the operations of the training step that a batch would make, without making it.

    Parameters
    ----------
    model : Sequential
        Nothing of it is changed.
    x, t : array_like
        Raw inputs and targets of a batch, or of one sample without an axis for the batch.
    sample : int, default 0
        Which sample's numbers are shown.
    optimizer : Optimizer, optional
        What would update the parameters, with the moments that it has; Adam if None.

    Raises
    ------
    ValueError
        If there is no such sample, or the batch does not fit.
    """
    if optimizer is not None:
        checked.instance(optimizer, Optimizer, "optimizer", "Adam()")
    x, t = _as_batch(model, x, t)
    checked.integer(sample, "sample")
    with looking(model, x, t, training=True) as found:
        count = len_of(found.x)
        if not 0 <= sample < count:
            raise ValueError(f"sample must be from 0 to {count - 1}, of a batch of {count}")
        found.backward()
        show = _Shown(model, sample)
        return [
            *_forward(found, show),
            *_backward(found, show, count),
            *_update(found, show, optimizer or Adam()),
        ]


def explain(
    model: Sequential, x: Any, t: Any = None, sample: int = 0, optimizer: Optimizer | None = None
) -> str:
    """Return a training step in slow motion as text: see :meth:`npnn.Sequential.explain`."""
    lines: list[str] = []
    phase = ""
    for number, operation in enumerate(operations(model, x, t, sample, optimizer), start=1):
        if operation.phase != phase:
            phase = operation.phase
            lines += ["", phase.capitalize(), "-" * len(phase)]
        is_layer = phase != "update" and not operation.place.startswith("link")
        where = f"layer {operation.place}, " if is_layer else ""
        lines.append(f"{number:3}. {where}{operation.title}")
        lines += [f"       {as_text(formula)}" for formula in operation.formulas]
        width = max((len(name) for name, _ in operation.values), default=0)
        for name, value in operation.values:
            first, *rest = rows_of(value)
            lines.append(f"         {name:{width}} = {first}")
            lines += [" " * (12 + width) + row for row in rest]
        if operation.remark:
            lines += textwrap.wrap(
                f"({operation.remark})", 80, initial_indent=" " * 7, subsequent_indent=" " * 8
            )
    return "\n".join(lines[1:])


def rows_of(value: Any, most: int = MOST_NUMBERS) -> list[str]:
    """Return numbers as lines of text, the middle of long ones left out."""
    array = host_array(value)
    if array.ndim == 0:
        return [f"{float(array):.6g}"]
    if array.ndim > 2:
        return [f"shape {array.shape}", *rows_of(array.reshape(-1), most)]
    rows = array.reshape(-1, array.shape[-1])
    shown = [*range(len(rows))] if len(rows) <= most else [*range(most - 1), -1]
    found = [_numbers(rows[number], most) for number in shown]
    if len(rows) > most:
        found[-1:] = [f"… {len(rows) - most} more rows …", found[-1]]
    return found


def _numbers(row: np.ndarray, most: int) -> str:
    # With what is left out, and the names before, no more than 80 columns.
    fit = most - 1 if len(row) < most else most - 2
    shown = [f"{float(number):.4g}" for number in row[:fit]]
    more = [f"… {len(row) - fit} more"] * (len(row) > fit)
    return "  ".join(f"{part:>9}" for part in [*shown, *more])


def _as_batch(model: Sequential, x: Any, t: Any) -> tuple[Any, Any]:
    """Return a batch, of one sample if x is a sample without an axis for the batch."""
    if isinstance(x, (dict, tuple)) or model.shape_in is None or isinstance(model.shape_in, dict):
        return x, t
    ndim = getattr(x, "ndim", None)
    if (host_array(x).ndim if ndim is None else ndim) == len(model.shape_in):
        as_one: Any = [x] if ndim is None else x[None, ...]
        given = getattr(t, "ndim", None)
        return as_one, t if t is None else [t] if given is None else t[None, ...]
    return x, t


class _Shown:
    """Brings arrays to the host, of a batch the numbers of one sample."""

    def __init__(self, model: Sequential, sample: int) -> None:
        self.to_numpy, self.sample = model.backend.to_numpy, sample

    def one(self, name: str, value: Any) -> list[tuple[str, Any]]:
        """Return the names and numbers of one sample's part of a batch."""
        each = leaves(mapped(value, lambda a: self.to_numpy(a)[self.sample]))
        return [(f"{name}{place(path)}", array.copy()) for path, array in each]

    def all(self, name: str, value: Array) -> tuple[str, Any]:
        """Return the name and the numbers of an array that is no batch."""
        return name, self.to_numpy(value).copy()


def _forward(found: Pass, show: _Shown) -> Iterator[Operation]:
    for event in found.events:
        layer: Any = event.layer
        if event.kind != "forward" or event.given is not found.outputs[event.place]:
            continue
        if getattr(layer, "is_loss", False):
            yield _loss(found, event.place, layer, show)
            continue
        values = show.one("x", event.taken)
        values += [show.all(name, getattr(layer, name)) for name in layer.parameter_names]
        values += show.one("y", event.given)
        title = _title(layer)
        yield Operation("forward", event.place, title, formulas_of(type(layer)).forward, (*values,))


def _loss(found: Pass, place: str, layer: LossLayer, show: _Shown) -> Operation:
    values = show.one("y", layer.y)
    if layer.needs_targets:
        values += show.one("t", layer.t)
    values += show.one("value", layer.loss)
    values.append(show.all("L", found.loss()))
    remark = "L is the mean over the batch of the values, summed over the outputs"
    return Operation("loss", place, _title(layer), _value_formulas(layer), (*values,), remark)


def _value_formulas(layer: LossLayer) -> tuple[str, ...]:
    """Return the formula that the loss was computed by: from the logits, if those came in."""
    forward = formulas_of(type(layer)).forward
    values = [block.split(r"\qquad")[0].strip().rstrip(",") for block in blocks_of(type(layer))]
    if layer.from_logits and len(values) > 1:
        return (values[1],)
    return forward[:1]


def _slope_formulas(layer: LossLayer) -> tuple[str, ...]:
    backward = formulas_of(type(layer)).backward
    at_logits = [part for part in backward if part.startswith(r"\frac{\partial L}{\partial x")]
    if layer.from_logits:
        return tuple(at_logits[:1]) or (
            r"\frac{\partial L}{\partial x} = \frac{y - t}{\mathrm{batch}}",
        )
    return tuple(part for part in backward if part not in at_logits)


def _backward(found: Pass, show: _Shown, count: int) -> Iterator[Operation]:
    skipped = {found.network.row[at][0]: at for at in found.network.activations}
    for event in found.events:
        if event.kind != "backward":
            continue
        layer: Any = event.layer
        if getattr(layer, "is_loss", False):
            values = show.one("∂L/∂x" if layer.from_logits else "∂L/∂y", event.given)
            behind = [at for at in skipped.values() if layer.from_logits]
            remark = f"the mean over {count} samples divides by {count}"
            if behind:
                activation = found.network.row[behind[-1]]
                remark += f"; it is taken at the inputs of layer {activation[0]}, {activation[1]!r}"
            yield Operation("backward", event.place, f"the derivative of {_title(layer)}",
                            _slope_formulas(layer), (*values,), remark)  # fmt: skip
            continue
        values = show.one("∂L/∂y", event.taken)
        for name in layer.parameter_names:
            gradient = getattr(layer, f"grad_{name}")
            values.append(show.all(f"∂L/∂{name}", gradient))
        if event.given is not None:
            values += show.one("∂L/∂x", event.given)
        remark = f"those of parameters are summed over the batch of {count}" * (
            bool(layer.parameter_names) and count > 1
        )
        formulas = formulas_of(type(layer)).backward
        yield Operation("backward", event.place, _title(layer), formulas, (*values,), remark)


def _update(found: Pass, show: _Shown, optimizer: Optimizer) -> Iterator[Operation]:
    """Yield the update of each parameter that is trained."""
    slots, gradients = found.network.trained, found.grad_parameters()
    twin = optimizer.twin()
    twin.steps = optimizer.steps + 1
    rate = twin.rate
    scalars = {name: found.backend.asarray(value) for name, value in twin.scalars().items()}
    parameters = [slot.get() for slot in slots]
    limited = twin.limit(parameters, [gradients[slot.name] for slot in slots])
    for slot, p, g in zip(slots, parameters, limited, strict=True):
        moments = _moments(slot, optimizer, found)
        new, *after = twin.update(p, g, *moments, **scalars)
        values = [("α", rate), show.all("θ", p), show.all("g", g)]
        for name, moment in zip(twin.moments, after, strict=True):
            values.append(show.all(name, moment))
        values.append(show.all("θ, new", new))
        kept = [name for name in ("weight_decay", "weight_decay_l1", "clip_value", "clip_norm")
                if getattr(twin, name)]  # fmt: skip
        remark = f"g has taken in {', '.join(kept)}" if kept else ""
        kinds = [kind for kind in type(twin).__mro__ if issubclass(kind, Optimizer)][:-1]
        own = [kind for kind in kinds if kind is not Optimizer and blocks_of(kind)]
        formulas = tuple(formula for kind in own for formula in formulas_of(kind).forward)
        title = f"{slot.name} by {type(twin).__name__}, step {twin.steps}"
        yield Operation("update", slot.name, title, formulas, (*values,), remark)


def _moments(slot: Slot, optimizer: Optimizer, found: Pass) -> Sequence[Array]:
    """Return the moments that an optimizer has for a parameter, or zeros as it would."""
    shapes = [tuple(getattr(layer, name).shape) for layer, name in optimizer.slots]
    for number, (layer, name) in enumerate(optimizer.slots):
        if layer is slot.layer and name == slot.attribute:
            return [found.backend.unpack(moment, shapes)[number] for moment in optimizer.state]
    return [found.backend.zeros(tuple(slot.get().shape)) for _ in optimizer.moments]


def _title(layer: Layer) -> str:
    return textwrap.shorten(repr(layer), 72, placeholder=" …")
