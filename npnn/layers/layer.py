"""What a layer is: shapes in and out, named parameters, a forward and a backward formula."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from npnn import checked, initializers
from npnn.arrays import Array, Shape, array_namespace, as_shape, fits
from npnn.locks import changed
from npnn.plain import Named, Reader, Writer
from npnn.settings import Settings
from npnn.values import check_numbers, like, numbers_like

if TYPE_CHECKING:
    import numpy as np

    from npnn.backends import Backend


class Layer(Named, Settings):
    r"""One link of a model: :math:`y = f(x; \theta)` and its derivatives.

    A layer is written once, in terms of the namespace of its input
    (``xp = array_namespace(x)``), and runs on every backend. A subclass

    * stores each constructor argument under the argument's name, which is all that saving needs,
    * names its `parameter_names` (trained), `state_names` (carried from step to step, such as
      running statistics) and sets them in :meth:`build`,
    * computes :meth:`forward` and :meth:`backward` as pure functions of arrays: nothing looks
      at a value on the host, so that a step can be captured and replayed.

    Attributes
    ----------
    shape_in, shape_out : tuple of int
        Shape of one sample on either side, without the batch axis; None until known.
    trainable : bool
        Whether training changes the parameters; those of a layer within one that it does not
        change stay as they are, too.
    gives : str
        What is known of the outputs: ``"probabilities"`` that sum to 1 over the last axis,
        ``"fractions"`` from 0 to 1, ``"numbers"`` of any size, ``"positives"``, which are numbers
        above 0, ``"gaussians"``, which are as many means and variances, ``"inputs"`` that are given
        on, perhaps in another shape, or nothing. It holds for the class itself, not for its
        subclasses.
    takes_integers : bool
        Whether the inputs are integers, also those that come as whole floats; of several inputs
        each stays what it is.
    training : bool
        True inside a training step, for layers that behave differently there.
    noise : str or None
        ``"uniform"`` (over [0, 1)) or ``"normal"`` if the layer uses random numbers; they are an
        input of the step and stand in `random`, of shape ``(batch, *noise_shape)``, at forward.
    """

    parameter_names: ClassVar[tuple[str, ...]] = ()
    state_names: ClassVar[tuple[str, ...]] = ()
    default_initializer: ClassVar[str | None] = None
    takes_integers: bool = False
    gives: ClassVar[str] = ""
    file_kind = "layer"
    switches = ("trainable",)

    shape_in: Shape | None = None
    shape_out: Shape | None = None
    training: bool = False
    noise: str | None = None
    random: Array = None
    dtype: str = "float32"
    trainable: bool = True
    place: str = ""  # in the network of a step
    is_twin: bool = False
    following: Layer | None = None

    def __init__(self) -> None:
        """Take no arguments, where a subclass takes none."""

    def build(self, shape_in: Shape | int, rng: np.random.Generator | None = None) -> Shape:
        """Fix the input shape, draw the parameters, and return the output shape.

        Parameters
        ----------
        shape_in : int or tuple of int
            Shape of one sample, without the batch axis.
        rng : numpy.random.Generator, optional
            Draws the initial parameters, on the host; layers without parameters need none.

        Raises
        ------
        ValueError
            If the layer was constructed for another shape.
        """
        self.shape_in = self.accept(shape_in)
        self.shape_out = self.shape_in
        return self.shape_out

    def __call__(self, *inputs: Any) -> Any:
        """Raise the error for a layer that is called as a function."""
        raise TypeError(
            f"{type(self).__name__} is no function: Sequential([...]) makes a model of layers, "
            "which model.predict(x) computes; layer.forward(x) computes one that is built"
        )

    def _missing(self, name: str) -> AttributeError:
        if name in (*self.parameter_names, *self.state_names):
            kind = type(self).__name__
            return AttributeError(
                f"{kind} has no attribute {name!r} yet: it is drawn when a model is made of the "
                "layer whose first shape_in is known, or when the model sees its first data"
            )
        return super()._missing(name)

    def _suiting(self, name: str, value: Any) -> Any:
        if name in (*self.parameter_names, *self.state_names):
            if self.is_twin:  # a step knows what it computes
                return value
            what = f"{name} of {type(self).__name__}"
            array = like(vars(self)[name], value, what)
            self.check_array(name, array, what)
            xp = array_namespace(array)  # a person's own array stays one
            return xp.asarray(array, copy=True) if array is value else array
        if name in ("shape", "shape_in", "shape_out"):  # build sets them, too
            return None if value is None else as_shape(value, name)
        return super()._suiting(name, value)

    def mark_changed(self) -> None:
        """Have all steps that were recorded with this layer's settings recorded anew."""
        if not self.is_twin:  # what a step makes of it is seen by nobody else
            super().mark_changed()

    def _hold(self, name: str, array: Array) -> None:
        """Set a parameter or a state to an array, of whatever library, dtype and shape."""
        vars(self)[name] = array
        self.mark_changed()

    def forward(self, x: Array) -> Array:
        """Return y for a batch `x`, keeping what :meth:`backward` needs."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, grad_y: Array) -> Array:
        """Return grad_x for `grad_y`, leaving ``grad_<name>`` for each parameter."""
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    @property
    def is_built(self) -> bool:
        """Whether the shapes are known and the parameters drawn."""
        names = (*self.parameter_names, *self.state_names)
        return self.shape_out is not None and all(name in vars(self) for name in names)

    # What a subclass may say about itself ------------------------------------------------------

    @property
    def noise_shape(self) -> Shape:
        """Shape of one sample's random numbers."""
        assert self.shape_in is not None
        return self.shape_in

    @property
    def flops(self) -> int:
        """Floating-point operations of one sample's forward pass."""
        return 0

    def children(self) -> Iterator[tuple[str, Layer]]:
        """Yield the name and the layer of each part, for a layer made of layers."""
        return iter(())

    def check_array(self, name: str, array: Array, what: str) -> None:
        """Raise the error for a parameter or a state that can be none of this layer's.

        A parameter must be finite; a state must not be NaN. `what` is what the error calls it.
        """
        is_state = name in self.state_names
        check_numbers(array, what, "no NaN" if is_state else "finite numbers", infinite=is_state)

    # What the model does with it ---------------------------------------------------------------

    def walk(self, place: str = "", above: Sequence[Layer] = ()) -> Iterator[tuple[str, Layer]]:
        """Yield the place and the layer of this layer and of all its parts.

        Raises
        ------
        ValueError
            If a layer is a part of itself; `above` are those that this one is a part of.
        """
        if any(layer is self for layer in above):
            raise ValueError(f"layer {place}, {type(self).__name__}, is a part of itself")
        yield place, self
        for name, child in self.children():
            yield from child.walk(f"{place}.{name}" if place else name, (*above, self))

    def twin(self) -> Layer:
        """Return a layer of the same settings and arrays, whose working values are its own.

        A step works on twins, so that nothing it does is seen from outside, and a layer that
        stands in two places keeps for each what its backward needs.
        """
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, is_twin=True)
        if type(self).children is not Layer.children:
            own = [child for _, child in self.children()]
            twin.__dict__.update({name: _twins(value, own) for name, value in vars(self).items()})
        return twin

    def accept(self, shape_in: Shape | int) -> Shape:
        """Return `shape_in` as a tuple, or say that the layer was made for another one."""
        shape: Shape = as_shape(shape_in, "shape_in")
        if self.shape_in is not None and not fits(self.shape_in, shape):
            raise ValueError(f"takes inputs of shape {self.shape_in}, but is given {shape}")
        return shape

    def draw(
        self,
        name: str,
        initializer: initializers.Initializer | str | None,
        rng: np.random.Generator | None,
        shape: Shape,
        fan_in: int = 1,
        fan_out: int = 1,
    ) -> None:
        """Set the parameter or state `name` to a fresh host array drawn by `initializer`.

        Without an initializer, the following activation says which one suits it. Where a model is
        read from a file, it is the array that the file holds.
        """
        if isinstance(rng, initializers.Drawn):
            self._hold(name, rng.find(self, name, shape).astype(self.dtype, copy=False))
            return
        if initializer is None and self.following is not None:
            initializer = self.following.default_initializer
        function = initializers.get(initializer or "GlorotUniform")
        assert function is not None
        if rng is None and not isinstance(function, initializers.Constant):
            raise TypeError(f"{type(self).__name__}.build needs rng to draw {name!r}")
        what = f"what {function!r} draws for {name}"
        drawn = function(rng, shape, fan_in, fan_out)  # type: ignore[arg-type]
        array = numbers_like(shape, self.dtype, drawn, what)
        self.check_array(name, array, what)
        self._hold(name, array)

    def to(self, backend: Backend) -> Any:
        """Move the parameters and the state to arrays of `backend`, and return the layer."""
        for _, layer in self.walk():
            for name in (*layer.parameter_names, *layer.state_names):
                layer._hold(name, backend.asarray(getattr(layer, name)))
        return self

    def to_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as plain values, for a file.

        Raises
        ------
        npnn.FileError
            If a file could not hold them, or not name the class.
        """
        config: dict[str, Any] = Writer().value(self, "the layer")["layer"]
        return config

    @staticmethod
    def from_config(config: dict[str, Any]) -> Layer:
        """Return a fresh, unbuilt layer from what :meth:`to_config` gave."""
        layer: Layer = Reader().named("layer", config)
        return layer

    def _described(self, writer: Writer) -> dict[str, Any]:
        config = super()._described(writer)
        return config if self.trainable else {**config, "trainable": False}

    @classmethod
    def _restored(cls, config: dict[str, Any], reader: Reader) -> Any:
        config = dict(config)
        own = "trainable" in cls._arguments()
        trainable = True if own else config.pop("trainable", True)
        layer = super()._restored(config, reader)
        if not trainable:
            layer.trainable = False
        return layer

    def __repr__(self) -> str:
        shown = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = self.shape_in if name == "shape" else getattr(self, name, parameter.default)
            positional = parameter.kind is not parameter.KEYWORD_ONLY
            if positional and name in ("shape", "shape_in", "shape_out"):
                shown.append(_shape_repr(value))
            elif value != parameter.default:
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


class Link(Layer, abstract=True):
    """What a chain is made of: a model, or a loss.

    Attributes
    ----------
    chain : Link or None
        What follows.
    """

    is_loss: ClassVar[bool] = False
    _chain: Link | None = None

    @property
    def chain(self) -> Any:
        """The loss, or the model, that follows."""
        return self._chain

    @chain.setter
    def chain(self, link: Link | None) -> None:
        with changed(self):
            self._follow(link)

    def _follow(self, link: Link | None) -> None:
        """Put a link behind this one; who holds the lock of a step calls this."""
        if link is not None and not isinstance(link, Link):
            raise TypeError(f"chain must be a loss or a model, not {checked.shown(link)}")
        if link is not self._chain:
            self._chain = link
            self.mark_changed()


def given_by(layer: Layer) -> str:
    """Return what `gives` says of a layer's outputs; nothing of those of a subclass of it."""
    return str(vars(type(layer)).get("gives", ""))


def _twins(value: Any, own: list[Layer]) -> Any:
    """Return `value` with a twin in the place of each layer in it that is one of `own`."""
    if isinstance(value, Layer):
        return value.twin() if any(value is layer for layer in own) else value
    if type(value) in (list, tuple):
        return type(value)(_twins(item, own) for item in value)
    if type(value) is dict:
        return {key: _twins(item, own) for key, item in value.items()}
    return value


def _shape_repr(shape: Shape | None) -> str:
    return str(shape[0]) if shape is not None and len(shape) == 1 else str(shape)
