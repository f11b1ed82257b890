"""From a step to its plans: one for each shape of a batch, kept in a bounded cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from npnn.backends import tuning
from npnn.backends.backend import Step, Tree, warn_of_no_capture
from npnn.backends.cpu import threads
from npnn.backends.operations.kind import Call
from npnn.backends.planning.division import seconds
from npnn.backends.planning.draft import Draft
from npnn.backends.planning.plan import Plan
from npnn.backends.planning.target import Target
from npnn.backends.recording.node import Node, NotRecorded
from npnn.backends.recording.tracer import Recorded, Trace
from npnn.trees import Path, leaves, mapped

MOST_PLANS = 32
# What their memory may come to together, but for the few that a training goes back and forth
# between: a batch, the last one of an epoch, one sample, all that is validated on.
MOST_BYTES = 1 << 26
FEW_PLANS = 4
# What code may raise because it is given a recording array; all else is its own affair.
FROM_RECORDING = (
    NotRecorded, AttributeError, IndexError, NotImplementedError, TypeError, ValueError,
)  # fmt: skip
RAISED_IN = (NotRecorded.__module__, np.exceptions.AxisError.__module__)


class _Last(NamedTuple):
    """The last call of a captured step: what it bound, the form of its inputs, what answered it."""

    carry: Tree | None = None
    data: Tree | None = None
    names: tuple[str, ...] = ()
    form_of: Callable[..., Any] = id
    form: Any = None
    replay: Any = None


class CapturedStep:
    """A step that is recorded at its first call for each batch shape, and replayed after.

    Arrays of the carry and of the data are bound to the plan: other arrays get another plan.
    Inputs are copied into the plan's own memory, outputs out of it. A carry, or data, that comes
    again as the same dict holds the same arrays.

    Parameters
    ----------
    step : callable
        See :data:`npnn.backends.backend.Step`.
    dtype : dtype
        Of the numbers among the inputs, such as the learning rate.
    target : Target, optional
        What it will run on; NumPy if None.
    """

    denormals_are_slow = True

    def __init__(self, step: Step, dtype: Any, target: Target | None = None) -> None:
        self.step, self.dtype, self.target = step, dtype, target or Target()
        self.plans: OrderedDict[Any, tuple[Plan, Callable[..., Any]]] = OrderedDict()
        self.replays: dict[Any, Callable[..., Any]] = {}
        self._last = _Last()
        self._forms: dict[Any, tuple[Callable[..., Any], Callable[..., Any]]] = {}
        self.recordable = True
        self.count = 0
        # What NumPy is to do about errors is the caller's affair: half a step is none.
        with np.errstate(all="ignore"):
            self._quiet = copy_context()

    def __call__(self, carry: Tree, data: Tree, inputs: Tree) -> tuple[Tree, Tree]:
        """Return what the step gives; the arrays of `carry` are changed and returned."""
        last, names = self._last, tuple(inputs)
        if not (
            carry is last.carry
            and data is last.data
            and names == last.names
            and last.form_of(inputs) == last.form
        ):
            last = self._find(carry, data, inputs, names)
        self.count += 1
        if self.denormals_are_slow and self.count % tuning.FLUSH_EVERY == 0:
            _flush_denormals(leaves(carry))
        result: tuple[Tree, Tree] = last.replay(carry, data, inputs)
        return result

    def _find(self, carry: Tree, data: Tree, inputs: Tree, names: tuple[str, ...]) -> _Last:
        """Return how a call is answered; by a plan that is made for it if there is none."""
        structure = (*names, None, *data)
        if structure not in self._forms:
            self._forms[structure] = _bound_function(carry, data), _form_function(inputs)
        bound_of, form_of = self._forms[structure]
        form = form_of(inputs)
        key = structure, bound_of(carry, data), form
        replay = self.replays.get(key)
        if replay is None:
            replay = self._record(key, carry, data, inputs) if self.recordable else self.step
        elif replay is not self._last.replay:
            self.plans.move_to_end(key)
        last = _Last(carry, data, names, form_of, form, replay)
        if self.recordable:
            self._last = last
        return last

    def plan(self, carry: Tree, data: Tree, inputs: Tree) -> Plan | None:
        """Return the plan of such a call, its inputs filled but not run; None if there is none."""
        replay = self._record("asked for", carry, data, inputs)
        if not self.recordable:
            replay(carry, data, inputs)  # which says why
            return None
        del self.replays["asked for"]
        plan, _ = self.plans.pop("asked for")
        self.fill(plan, [value for _, value in leaves(inputs)])
        return plan

    # What arrays of another kind do their own way ----------------------------------------------

    def sample(self, array: Any) -> Any:
        """Return a NumPy array that lies in memory as `array` does."""
        return array

    def plan_of(self, draft: Draft, values: list[Any]) -> Plan:
        """Return the plan of a recorded step, each of whose inputs comes with its first value."""
        draft.threads = self.threads_for(draft.nodes, tuning.WORTH)
        if threads.count() > tuning.MOST_THREADS:
            draft.threads = 1  # the library's own threads do not wait for the interpreter's lock
        return Plan(draft, self.target)

    def threads_for(self, nodes: list[Node], worth: float) -> int:
        """Return how many threads a step is worth, `worth` seconds each."""
        most = int(seconds(nodes) / worth)
        return min(most, threads.count()) if most > 1 else 1

    def replay_of(self, plan: Any, entering: dict[Path, Node], outputs: Any) -> Callable[..., Any]:
        """Return the function that fills the inputs, replays the plan and returns the outputs."""
        return _compile(plan, entering, outputs)

    def fill(self, plan: Any, values: list[Any]) -> None:
        """Write a value for each of its inputs into a plan."""
        for leaf, value in zip(plan.draft.inputs, values, strict=True):
            if leaf in plan.draft.users:
                plan.array(leaf)[...] = value

    # Recording ---------------------------------------------------------------------------------

    def _record(self, key: Any, carry: Tree, data: Tree, inputs: Tree) -> Callable[..., Any]:
        trace = Trace()
        bound = partial(self._leaf, trace, bound=True)
        free = partial(self._leaf, trace, bound=False)
        trees = [mapped(carry, bound), mapped(data, bound), mapped(inputs, free)]
        # Looked up first: a leaf that is written to stands for what was written.
        found = [{path: leaf.node for path, leaf in leaves(tree)} for tree in trees]
        trace.in_range = found[2].get(("index",))
        try:
            new_carry, outputs = self.step(*trees)
        except FROM_RECORDING as error:
            if type(error).__module__ not in ("builtins", *RAISED_IN):
                raise
            self.recordable = False
            return partial(self._run_uncaptured, error)
        results = dict(leaves(new_carry))
        try:
            draft = Draft(
                trace.nodes,
                [(found[0][path], x, trace.node(results[path])) for path, x in leaves(carry)],
                [(found[1][path], x) for path, x in leaves(data)],
                list(found[2].values()),
                [trace.node(value) for _, value in leaves(outputs)],
            )
            plan = self.plan_of(draft, [x for _, x in leaves(inputs)])
        except NotRecorded as error:
            self.recordable = False
            return partial(self._run_uncaptured, error)
        replay = partial(self._quiet.run, self.replay_of(plan, found[2], outputs))
        self.plans[key] = plan, replay
        self.replays[key] = replay
        self._forget_oldest()
        return replay

    def _forget_oldest(self) -> None:
        """Forget the plans that were not used for longest, where there are too many."""
        nbytes = sum(plan.nbytes for plan, _ in self.plans.values())
        while len(self.plans) > MOST_PLANS or (len(self.plans) > FEW_PLANS and nbytes > MOST_BYTES):
            oldest, (plan, _) = self.plans.popitem(last=False)
            nbytes -= plan.nbytes
            del self.replays[oldest]
            vars(plan).clear()  # its loops know it: the memory would wait for the collector

    def _run_uncaptured(self, error: Exception, *trees: Tree) -> tuple[Tree, Tree]:
        """Run the step as it is, and warn; or raise the error that it makes also then."""
        try:
            result = self.step(*trees)
        except BaseException:
            self.recordable = True
            raise
        recorded = isinstance(error, NotRecorded)
        why = f"it uses {error}" if recorded else f"{type(error).__name__} was raised: {error}"
        warn_of_no_capture(why, stacklevel=4)
        return result

    def _leaf(self, trace: Trace, x: Any, bound: bool) -> Recorded:
        array = np.empty((), self.dtype) if isinstance(x, float) else x
        return trace.leaf(self.sample(array) if bound else array, bound=bound)


def _flush_denormals(carried: Iterator[tuple[Path, Any]]) -> None:
    """Set what is about to become denormal to zero, in place.

    The moments of a unit whose gradient is exactly zero shrink by a factor each step, and would
    stop at the smallest denormal numbers, which many processors compute with a hundred times
    slower: 0.9 of the smallest one rounds back to itself. Between two flushes a factor of 0.9
    takes less than the gap between this limit and the smallest normal number.
    """
    for _, array in carried:
        if array.dtype.kind == "f" and array.ndim:
            info = np.finfo(array.dtype)
            limit = info.tiny / info.eps
            flat = array.reshape(-1)
            for start in range(0, flat.size, 1 << 14):
                block = flat[start : start + (1 << 14)]
                block *= np.abs(block) > limit


def expression(name: str, path: Path) -> str:
    """Return the Python expression of a leaf."""
    return name + "".join(f"[{part!r}]" for part in path)


def _bound_function(carry: Tree, data: Tree) -> Callable[..., Any]:
    """Compile the function that tells which arrays a call binds."""
    places = [
        expression(name, path)
        for name, tree in (("carry", carry), ("data", data))
        for path, _ in leaves(tree)
    ]
    return _compiled("lambda carry, data", [f"id({place})" for place in places])


def _form_function(inputs: Tree) -> Callable[..., Any]:
    """Compile the function that tells the form of a call's inputs."""
    places = [
        expression("inputs", path)
        for path, value in leaves(inputs)
        if not isinstance(value, float) and np.ndim(value)
    ]
    parts = [f"{place}.{name}" for place in places for name in ("shape", "dtype")]
    return _compiled("lambda inputs", parts)


def _compiled(signature: str, parts: list[str]) -> Callable[..., Any]:
    code = f"{signature}: ({''.join(part + ', ' for part in parts)})"
    return eval(code)  # type: ignore[no-any-return]  # of paths only, which are keys of ours


def _compile(plan: Plan, entering: dict[Path, Node], outputs: Any) -> Callable[..., Any]:
    """Compile the function that fills the inputs, makes the calls and returns the outputs."""
    names: dict[str, Any] = {"copyto": np.copyto}
    known: dict[int, str] = {}

    def name(value: Any) -> str:
        if value is None or isinstance(value, (bool, int, str, tuple)):
            return repr(value)
        if id(value) not in known:
            known[id(value)] = f"v{len(known)}"
            names[known[id(value)]] = value
        return known[id(value)]

    def written(call: Call) -> str:
        function, arguments = call
        if not arguments:
            return f"{name(function)}()"
        *given, out = map(name, arguments)
        # NumPy wants the output of maximum and minimum named, and of nothing else.
        keyword = "out=" if function in (np.maximum, np.minimum) else ""
        return f"{name(function)}({', '.join([*given, keyword + out])})"

    first: list[str] = []
    draft, division = plan.draft, plan.draft.division
    samples = {} if division is None else division.samples
    without_lock = plan.target.without_lock(plan, samples)
    tasks: list[list[list[str]]] = []
    if without_lock is None:
        tasks = [
            [[written(call) for call in plan.target.joined(call for call, _ in s)] for s in phase]
            for phase in plan.phases
        ]
    for path, leaf in entering.items():
        if leaf not in draft.users and leaf not in draft.kept:
            continue
        target, given = plan.array(leaf), expression("inputs", path)
        cut = samples.get(leaf)
        if leaf.shape == ():
            first.append(f"{name(target)}[()] = {given}")
        elif without_lock is not None and leaf in without_lock.brought:
            first.append(f"{name(without_lock.brought[leaf])}({given})")
        elif cut is None:
            first.append(f"copyto({name(target)}, {given})")
        else:
            # Each thread brings its samples itself: they are in its cache then.
            for number, task in enumerate(tasks[0]):
                start, stop = cut.at[number : number + 2]
                part = name(cut.part(target, number))
                task.insert(0, f"copyto({part}, {given}[{start}:{stop}])")
    if without_lock is not None:
        first.append(f"{name(without_lock)}()")
    elif division is None:
        first += tasks[0][0]
    else:
        names["run_phases"] = threads.run_phases
        names["granted"] = threads.count()
        first += _side_by_side(tasks)
    nodes = iter(draft.outputs)
    values = mapped(outputs, lambda x: f"{name(plan.array(next(nodes)))}.copy()")
    first.append(f"return carry, {source(values)}")
    return defined("replay(carry, data, inputs)", first, names)


def _side_by_side(tasks: list[list[list[str]]]) -> list[str]:
    """Return the lines that define a function for each phase and thread, and run them."""
    lines, phases = [], []
    for phase, sections in enumerate(tasks):
        functions = []
        for thread, section in enumerate(sections):
            functions.append(f"task_{phase}_{thread}" if section else "None")
            if section:
                lines += [f"def {functions[-1]}():", *(f"    {line}" for line in section)]
        phases.append(f"({', '.join(functions)})")
    return [*lines, f"run_phases(({', '.join(phases)},), granted)"]


def defined(signature: str, lines: list[str], names: dict[str, Any]) -> Callable[..., Any]:
    """Return a Python function of these lines, which know these names."""
    exec(f"def {signature}:\n    " + "\n    ".join(lines), names)
    # Not left among its own names: its memory would wait for the collector of circles.
    return names.pop(signature.partition("(")[0])  # type: ignore[no-any-return]


def source(tree: Any) -> str:
    """Return the Python expression of nested dicts and lists whose leaves are expressions."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key!r}: {source(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ", ".join(map(source, tree)) + "]"
    return str(tree)
