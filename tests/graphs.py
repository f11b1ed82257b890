"""Random steps: programs over arrays that run on any namespace, drawn from a string of bytes.

What an instruction does depends on shapes and dtypes alone, so that a program does the same
whether it runs on NumPy arrays or on recorded ones. Numbers are small integers wherever a result
could jump (comparisons, signs, casts), so that the order of a sum changes nothing.
"""

import math
import os

import array_api_compat.numpy as real
import numpy as np
import pytest
from hypothesis import settings

from npnn.arrays import array_namespace
from npnn.backends.recording.capture import CapturedStep

SHAPES = [(3, 4), (4, 4), (1, 4), (4, 1), (2, 3)]
LARGEST = 50.0  # magnitude of what is carried from step to step
TIMES = int(os.environ.get("NPNN_TIMES", "1"))


def examples(count):
    """Return the settings of a test of so many random programs, or a campaign's multiple of it."""
    return settings(max_examples=count * TIMES)


class NothingFitsError(Exception):
    """There is no operand for an instruction."""


class Value:
    """An array, whether it holds whole numbers exactly, and how large they can be."""

    def __init__(self, array, exact=True, bound=3.0):
        self.array, self.exact, self.bound = array, exact, bound

    shape = property(lambda self: tuple(self.array.shape))
    kind = property(lambda self: np.dtype(self.array.dtype).kind)
    ndim = property(lambda self: len(self.shape))


class Choices:
    """Decisions out of bytes; the first possibility when they are used up."""

    def __init__(self, source):
        self.bytes = iter(source)

    def number(self, count):
        return next(self.bytes, 0) % count

    def of(self, items):
        return items[self.number(len(items))]


class Program:
    """A step ``(carry, data, inputs) -> (carry, outputs)`` that a string of bytes spells out."""

    def __init__(self, source, length=12, dtype="float64", fused=False, instructions=None):
        self.source, self.length, self.dtype = source, length, dtype
        self.fused = fused
        self.instructions = instructions or (FUSED if fused else INSTRUCTIONS)
        self.rows, self.columns = SHAPES[sum(source[:2]) % len(SHAPES)]
        self.seen = []  # the shape and dtype of each value, by run

    # Where it starts ---------------------------------------------------------------------------

    def carry(self, rng):
        draw = lambda *shape: rng.integers(-3, 4, shape).astype(self.dtype)  # noqa: E731
        return {
            "p": [
                *(draw(self.rows, self.columns) for _ in "ab"),
                *(draw(self.columns) for _ in "cd"),
            ],
            "bits": [draw(self.rows, self.columns) > 0 for _ in range(2)],
            "real": draw(self.rows, self.columns),
            "flat": draw(self.rows * self.columns),
        }

    def data(self, rng):
        # Arrays of users need not be contiguous.
        wide = rng.integers(-3, 4, (self.columns, 2 * self.rows)).astype(self.dtype)
        return {"d": wide[:, ::2].T, "e": wide[:, : self.rows].copy()}

    def inputs(self, rng):
        draw = lambda *shape: rng.integers(-3, 4, shape).astype(self.dtype)  # noqa: E731
        return {
            "x": draw(self.rows, self.columns),
            "column": draw(self.rows, 1),
            "deep": draw(2, self.rows, self.columns),
            "index": rng.integers(0, self.rows, self.rows),
            "mask": rng.integers(2, size=(self.rows, self.columns)).astype(bool),
            "number": np.asarray(float(rng.integers(-3, 4)), self.dtype),
        }

    # What it does ------------------------------------------------------------------------------

    def __call__(self, carry, data, inputs):
        xp = array_namespace(inputs["x"])
        choices = Choices(self.source)
        self.index = inputs["index"]
        exact = [*carry["p"], *carry["bits"], carry["flat"]]
        self.values = [Value(a, True, LARGEST) for a in exact]
        self.values.append(Value(carry["real"], False, LARGEST))
        self.values += [Value(a) for a in (*data.values(), *inputs.values())]
        if self.fused:
            given = (*carry["p"], inputs["column"], inputs["x"])
            self.values = [Value(a, True, LARGEST) for a in given]
        done = []
        for _ in range(self.length):
            if done and choices.number(8) == 0:
                instruction = choices.of(done)  # the same again
            else:
                instruction = (
                    choices.of(self.instructions),
                    [choices.number(256) for _ in range(8)],
                )
                done.append(instruction)
            value = self._do(xp, *instruction)
            if value is not None:
                self.values.append(value)
        self.seen.append([(v.shape, str(np.dtype(v.array.dtype))) for v in self.values])
        return self._finish(xp, choices, carry)

    def _do(self, xp, instruction, numbers):
        try:
            value = instruction(self, xp, Choices(numbers))
        except NothingFitsError:
            return None
        if value is None or value.kind not in "fi" or value.bound <= 1e5:
            return value
        clipped = xp.minimum(xp.maximum(value.array, -9), 9)
        return Value(clipped, value.exact, 9.0)

    def _finish(self, xp, choices, carry):
        if self.fused:
            self.values += [Value(a, True, LARGEST) for a in (*carry["bits"], carry["flat"])]
            self.values.append(Value(carry["real"], False, LARGEST))

        def successor(old, exact):
            fitting = [
                v
                for v in self.values
                if v.shape == tuple(old.shape)
                and v.array.dtype == old.dtype
                and (v.exact or not exact)
            ]
            # Two thirds of the time something that was computed late.
            late = fitting if choices.number(3) == 0 else fitting[-3:]
            value = choices.of(late)
            if value.kind == "b" or value.bound <= LARGEST:
                return value.array
            return xp.minimum(xp.maximum(value.array, -LARGEST), LARGEST)

        new = {
            "p": [successor(old, True) for old in carry["p"]],
            "bits": [successor(old, True) for old in carry["bits"]],
            "real": successor(carry["real"], False),
            "flat": successor(carry["flat"], True),
        }
        outputs = [choices.of(self.values).array for _ in range(choices.number(3))]
        return new, {"last": self.values[-1].array, "more": outputs}

    # Picking operands --------------------------------------------------------------------------

    def pick(self, choices, fits=lambda v: True, kinds="fi"):
        fitting = [v for v in self.values if v.kind in kinds and fits(v)]
        if not fitting:
            raise NothingFitsError
        # Half of the time one of the last: runs of operations, and values that wait long.
        return choices.of(fitting[-4:] if choices.number(2) else fitting)

    def partner(self, choices, first, kinds="fi"):
        return self.pick(choices, lambda v: _broadcast(first.shape, v.shape), kinds)


def _broadcast(*shapes):
    try:
        return math.prod(np.broadcast_shapes(*shapes)) <= 200
    except ValueError:
        return False


# Instructions: (program, namespace, choices) -> Value or None ------------------------------------


def unary(program, xp, choices):
    x = program.pick(choices)
    name = choices.of(["negative", "abs", "sign", "square", "tanh", "exp", "sqrt", "divide", "pow"])
    a, exact, bound = x.array, x.exact, x.bound
    if name == "sign":
        return Value(xp.sign(a), True, 1.0) if exact else None
    if name == "sqrt":
        return Value(xp.sqrt(xp.abs(a)), False, 1.0 + math.sqrt(bound)) if exact else None
    if name in ("square", "pow"):
        return Value(xp.square(a) if name == "square" else a**2, exact, bound**2)
    if name == "tanh":
        return Value(xp.tanh(a), False, 1.0)
    if name == "exp":
        return Value(xp.exp(-xp.abs(a)), False, 1.0)
    if name == "divide":
        return Value(a / 4.0, False, bound)
    return Value(getattr(xp, name)(a), exact, bound)


def binary(program, xp, choices):
    a = program.pick(choices)
    b = program.partner(choices, a)
    name = choices.of(["add", "subtract", "multiply", "maximum", "minimum", "divide"])
    exact, larger = a.exact and b.exact, max(a.bound, b.bound)
    x, y = a.array, b.array
    if name == "add":
        return Value(x + y, exact, a.bound + b.bound)
    if name == "subtract":
        return Value(x - y, exact, a.bound + b.bound)
    if name == "multiply":
        return Value(x * y, exact, a.bound * b.bound)
    if name == "divide":
        return Value(x / (1.0 + xp.abs(y)), False, larger)
    return Value(getattr(xp, name)(x, y), exact, larger)


def with_number(program, xp, choices):
    x, number = program.pick(choices), choices.of([2, -1, 0, 3.0, 0.0])
    a, exact = x.array, x.exact
    return choices.of(
        [
            lambda: Value(a + number, exact, x.bound + 3.0),
            lambda: Value(number - a, exact, x.bound + 3.0),
            lambda: Value(number * a, exact, 3.0 * x.bound),
            lambda: Value(a * number, exact, 3.0 * x.bound),
            lambda: Value(xp.maximum(a, number), exact, x.bound + 3.0),
        ]
    )()


def comparison(program, xp, choices):
    a = program.pick(choices, lambda v: v.exact)
    b = program.partner(choices, a)
    if not b.exact:
        return None
    name = choices.of(["greater", "less_equal", "equal", "not_equal"])
    return Value(getattr(xp, name)(a.array, b.array), True, 1.0)


def logical(program, xp, choices):
    a = program.pick(choices, kinds="b")
    b = program.partner(choices, a, "b")
    name = choices.of(["logical_and", "logical_or", "logical_xor", "logical_not"])
    if name == "logical_not":
        return Value(xp.logical_not(a.array), True, 1.0)
    return Value(getattr(xp, name)(a.array, b.array), True, 1.0)


def choice(program, xp, choices):
    condition = program.pick(choices, kinds="b")
    a = program.partner(choices, condition, "fib")
    both = np.broadcast_shapes(a.shape, condition.shape)
    kinds = "b" if a.kind == "b" else "fi"
    b = program.pick(choices, lambda v: _broadcast(both, v.shape), kinds)
    how = choices.number(4)
    if how == 0 and a.kind != "b":
        return Value(xp.where(condition.array, a.array, 0.0), a.exact, a.bound)
    if how == 1 and a.kind != "b":
        return Value(xp.where(condition.array, 1, a.array), a.exact, max(1.0, a.bound))
    chosen = xp.where(condition.array, a.array, b.array)
    return Value(chosen, a.exact and b.exact, max(a.bound, b.bound))


def cast(program, xp, choices):
    x = program.pick(choices, kinds="fib")
    target = choices.of([program.dtype, "float32", "int64", "bool"])
    if target in ("int64", "bool") and not x.exact:
        return None
    return Value(xp.astype(x.array, getattr(xp, target)), x.exact, x.bound)


def reduction(program, xp, choices):
    x = program.pick(choices, lambda v: v.ndim > 0, "fi")
    axes = [-1, 0, None, tuple(range(x.ndim - 1)) or None, tuple(range(x.ndim))]
    axis, keepdims = choices.of(axes), bool(choices.number(2))
    name = choices.of(["sum", "sum", "max", "min", "mean"])
    reduced = getattr(xp, name)(x.array, axis=axis, keepdims=keepdims)
    if name == "mean":
        return Value(reduced, False, x.bound)
    return Value(reduced, x.exact, x.bound * (200.0 if name == "sum" else 1.0))


def place_of_largest(program, xp, choices):
    x = program.pick(choices, lambda v: v.ndim > 0 and v.exact)
    return Value(xp.argmax(x.array, axis=-1), True, 200.0)


def product(program, xp, choices):
    a = program.pick(choices, lambda v: v.ndim >= 2, "f")
    if choices.number(3) == 0:
        b = Value(a.array.mT, a.exact, a.bound)
    else:
        b = program.pick(choices, lambda v: v.ndim == 2 and v.shape[0] == a.shape[-1], "f")
    if not _broadcast((*a.shape[:-1], b.shape[-1])):
        return None
    return Value(a.array @ b.array, a.exact and b.exact, 12.0 * a.bound * b.bound)


KEYS = [
    (slice(None, None, -1),),
    (slice(1, None),),
    (..., slice(None, None, 2)),
    (..., slice(None, 2)),
    (0,),
    (..., -1),
    (None, ...),
    (..., None),
    (...,),
]


def view(program, xp, choices):
    x = program.pick(choices, lambda v: 0 < v.ndim < 4, "fib")
    a, shape = x.array, x.shape
    how = choices.of(["key", "key", "mT", "flat", "swapped", "permuted", "axis", "broadcast"])
    if how == "key":
        a = a[choices.of(KEYS)]
        if 0 in a.shape:
            return None
    elif how == "mT" and len(shape) > 1:
        a = a.mT
    elif how == "flat":
        a = xp.reshape(a, (-1,))
    elif how == "swapped":
        a = xp.reshape(a, shape[::-1])
    elif how == "permuted":
        a = xp.permute_dims(a, tuple(range(len(shape)))[::-1])
    elif how == "axis":
        a = xp.squeeze(xp.expand_dims(a, axis=0), axis=0)
    elif how == "broadcast" and len(shape) < 3:
        a = xp.broadcast_to(a, (2, *shape))
    return Value(a, x.exact, x.bound)


def join(program, xp, choices):
    flat = choices.number(2)
    a = program.pick(choices, lambda v: v.ndim > 0, "f")
    dtype = a.array.dtype
    fits = (
        (lambda v: v.ndim > 0 and v.array.dtype == dtype)
        if flat
        else (lambda v: v.ndim == a.ndim and v.shape[:-1] == a.shape[:-1])
    )
    b = program.pick(choices, fits, "f")
    parts = [a.array, b.array, a.array][: 2 + choices.number(2)]
    if flat:
        joined = xp.concat([xp.reshape(part, (-1,)) for part in parts])
    else:
        joined = xp.concat(parts, axis=-1)
    if math.prod(joined.shape) > 200:
        return None
    return Value(joined, a.exact and b.exact, max(a.bound, b.bound))


def rows(program, xp, choices):
    x = program.pick(choices, lambda v: v.ndim > 0 and v.shape[0] >= program.rows, "fib")
    return Value(xp.take(x.array, program.index, axis=0), x.exact, x.bound)


def writing(program, xp, choices):
    x = program.pick(choices, lambda v: v.ndim > 0, "fb")
    y = xp.asarray(x.array, copy=True)
    if choices.number(4) == 0:
        y = y[::-1]  # what follows is written through a view
    key = choices.of(KEYS)
    part = y[key]
    if 0 in part.shape:
        return None

    def fits(v):
        if len(v.shape) > len(part.shape):
            return False
        return v.array.dtype == y.dtype and _fits_into(v.shape, tuple(part.shape))

    if choices.number(4) == 0:
        y[key] = 2
        return Value(y, x.exact, x.bound + 2.0)
    value = program.pick(choices, fits, x.kind)
    y[key] = value.array
    return Value(y, x.exact and value.exact, max(x.bound, value.bound))


def changing_parts(program, xp, choices):
    """Parts of one array are written or added to, one after the other; they may overlap."""
    x = program.pick(choices, lambda v: v.ndim > 0, "f")
    y = xp.zeros(x.shape, dtype=x.array.dtype) if choices.number(2) else x.array + 0.0
    exact, bound, early = x.exact, x.bound, None
    axis = choices.number(x.ndim)
    length = x.shape[axis]
    side_by_side = choices.number(2)
    width = max(1, length // 2 if side_by_side else length - 2)
    for number in range(1 + choices.number(3)):
        starts = [n * width for n in range(length // width)] if side_by_side else [0, 1, 2]
        start = min(starts[number % len(starts)], length - width)
        key = (*[slice(None)] * axis, slice(start, start + width), ...)
        shape = tuple(y[key].shape)
        value = program.pick(choices, lambda v, s=shape: v.shape == s or v.ndim == 0, "f")
        if value.array.dtype != y.dtype:
            continue
        how = choices.number(5)
        if how == 0:
            y[key] = value.array
        elif how == 1:
            y[key] += value.array
        elif how == 2:
            y[key] = value.array - x.array[key]
            bound += x.bound
        else:
            other = choices.number(length - width + 1)
            seen = (*[slice(None)] * axis, slice(other, other + width), ...)
            if how == 3:
                y[key] = y[seen] - value.array
            else:
                y[key] = value.array - (y[seen] + 1.0)
            bound *= 2.0
        exact, bound = exact and value.exact, bound + value.bound
        if side_by_side and number == 0:
            early = y[key]
        elif early is not None and number + 1 == len(starts):
            # What was seen before is read after the others were written.
            program.values.append(Value(early * 1.0, exact, bound))
            return Value(y, exact, bound)
    return Value(y, exact, bound)


def in_place(program, xp, choices):
    x = program.pick(choices, lambda v: v.ndim > 0, "f")
    y = xp.asarray(x.array, copy=True)
    other = program.pick(choices, lambda v: _fits_into(v.shape, x.shape), "f")
    if choices.number(2):
        y += other.array
        return Value(y, x.exact and other.exact, x.bound + other.bound)
    y *= other.array
    return Value(y, x.exact and other.exact, x.bound * other.bound)


def _fits_into(shape, target):
    try:
        return np.broadcast_shapes(shape, target) == target
    except ValueError:
        return False


INSTRUCTIONS = [
    unary, unary, binary, binary, binary, binary, with_number, comparison, logical, choice, choice,
    cast, reduction, reduction, reduction, place_of_largest, product, view, view, view, join, rows,
    writing, writing, changing_parts, changing_parts, in_place,
]  # fmt: skip
# What a compiled loop is made of.
FUSED = [
    unary, unary, binary, binary, binary, with_number, comparison, choice, cast, reduction,
    reduction, view, join, changing_parts,
]  # fmt: skip

# What brings parts of arrays into loops.
STORING = [changing_parts, changing_parts, changing_parts, binary, with_number, view, join]


# Running both ------------------------------------------------------------------------------------


def copied(tree):
    """Return nested dicts and lists of NumPy arrays with arrays of their own."""
    if isinstance(tree, dict):
        return {key: copied(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [copied(value) for value in tree]
    return np.array(tree) if isinstance(tree, np.ndarray | np.generic) else tree


def flat(tree):
    """Return the leaves of nested dicts and lists."""
    if isinstance(tree, dict):
        return [leaf for value in tree.values() for leaf in flat(value)]
    if isinstance(tree, list):
        return [leaf for value in tree for leaf in flat(value)]
    return [tree]


def assert_same(actual, expected, tolerance=1e-9):
    """Check trees of arrays: dtypes and shapes exactly, values but for the order of sums."""
    for ours, theirs in zip(flat(actual), flat(expected), strict=True):
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        limit = 1e-4 if ours.dtype == np.float32 else tolerance
        np.testing.assert_allclose(ours, theirs, rtol=limit, atol=100.0 * limit)


def assert_replay_is_eager(step, carry, data, inputs, target=None, dtype=np.float64):
    """Check a captured step against the step itself, over one call for each of `inputs`."""
    captured = _captured(step, dtype, target)
    ours, theirs = copied(carry), copied(carry)
    given = copied(data)
    kept = []
    for batch in inputs:
        expected, returned = copied(step(copied(theirs), copied(data), copied(batch)))
        theirs = expected
        new, outputs = captured(ours, data, batch)
        assert new is ours
        assert_same(ours, theirs)
        assert_same(outputs, returned)
        assert_same(data, given)
        kept.append((outputs, returned))
    for outputs, returned in kept:
        assert_same(outputs, returned)  # nor did later replays write into what was returned
    return captured


def _captured(step, dtype, target):
    """Return the captured step; `target` may also be a function that captures it."""
    return target(step, dtype) if callable(target) else CapturedStep(step, dtype, target)


def interpreted(source, arguments):
    """Return the call of a loop's source, run by Python: it needs no compiling."""
    from npnn.backends.cpu import functions

    names = {"np": np, "functions": functions}
    exec(source, names)
    return names["kernel"], tuple(arguments.values())


def check(function, *arrays, target=None, dtype=np.float64):
    """Check a function of arrays, captured, against itself; an error must be the same one."""

    def step(carry, data, inputs):
        return carry, {"y": function(array_namespace(inputs["a"][0]), *inputs["a"])}

    batch = {"a": list(arrays)}
    with np.errstate(all="ignore"):
        try:
            function(real, *arrays)
        except Exception as error:
            with pytest.raises(type(error)):
                _captured(step, dtype, target)({}, {}, batch)
        else:
            assert_replay_is_eager(step, {}, {}, [batch, batch], target, dtype)


def check_program(source, target=None, replays=3, **options):
    """Check a random program, captured, against itself."""
    program = Program(source, **options)
    rng = np.random.default_rng(len(source))
    carry, data = program.carry(rng), program.data(rng)
    inputs = [program.inputs(rng) for _ in range(replays)]
    with np.errstate(all="ignore"):
        assert_replay_is_eager(program, carry, data, inputs, target)
    assert all(seen == program.seen[0] for seen in program.seen)
