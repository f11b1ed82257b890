"""A captured step whose plan is on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.backends.backend import Step, Tree
from npnn.backends.gpu.cupy_plan import CupyPlan, shadow_of
from npnn.backends.planning.plan import Plan
from npnn.backends.recording.capture import CapturedStep
from npnn.backends.recording.tracer import Node
from npnn.trees import Path, mapped

if TYPE_CHECKING:
    from npnn.backends.libraries.cupy_backend import CupyBackend


class CupyStep(CapturedStep):
    """A step that is recorded at its first call for each batch shape, and replayed on the device.

    A replay puts two things on the current stream, and waits for neither: a small copy that says
    where the inputs are and where the outputs shall be, and the CUDA graph of the step. Inputs may
    be NumPy arrays too.

    Parameters
    ----------
    step : callable
        See :data:`npnn.backends.backend.Step`.
    backend : CupyBackend
        Where it runs.
    """

    denormals_are_slow = False

    def __init__(self, step: Step, backend: CupyBackend) -> None:
        def on_device(carry: Tree, data: Tree, inputs: Tree) -> tuple[Tree, Tree]:
            return step(carry, data, mapped(inputs, self._brought))

        super().__init__(on_device, np.dtype(backend.dtype_name))
        self.backend = backend

    def _brought(self, x: Any) -> Any:
        return self.backend.cupy.asarray(x) if isinstance(x, np.ndarray) else x

    def __call__(self, carry: Tree, data: Tree, inputs: Tree) -> tuple[Tree, Tree]:  # noqa: D102
        with self.backend.current():
            return super().__call__(carry, data, inputs)

    def plan(self, carry: Tree, data: Tree, inputs: Tree) -> Plan | None:  # noqa: D102
        with self.backend.current():
            return super().plan(carry, data, inputs)

    def sample(self, array: Any) -> np.ndarray:  # noqa: D102
        return shadow_of(array)[0]

    def plan_of(  # noqa: D102
        self,
        nodes: list[Node],
        carry: list[tuple[Node, Any, Node]],
        data: list[tuple[Node, Any]],
        inputs: list[tuple[Node, Any]],
        outputs: list[Node],
    ) -> CupyPlan:
        of_device = self.backend.cupy.ndarray
        numbers = {n for n, x in inputs if n.shape == () and not isinstance(x, of_device)}
        leaves = [leaf for leaf, _ in inputs]
        return CupyPlan(self.backend, nodes, carry, data, leaves, outputs, numbers)

    def replay_of(  # noqa: D102
        self, plan: CupyPlan, leaves: dict[Path, Node], outputs: Any
    ) -> Callable[..., Any]:
        used = set(plan.entering)
        find = [_finder(path) for path, leaf in leaves.items() if leaf in used]

        def replay(carry: Tree, data: Tree, inputs: Tree) -> tuple[Tree, Tree]:
            arrays = iter(plan.send([found(inputs) for found in find]))
            plan.replay()
            return carry, mapped(outputs, lambda _: next(arrays))

        return replay

    def fill(self, plan: CupyPlan, values: list[Any]) -> None:  # noqa: D102
        given = dict(zip(plan.inputs, values, strict=True))
        plan.take_in([given[leaf] for leaf in plan.entering])


def _finder(path: Path) -> Callable[[Any], Any]:
    """Return the function that finds what lies at a path of nested dicts and lists."""
    steps = [itemgetter(part) for part in path]

    def find(tree: Any) -> Any:
        for step in steps:
            tree = step(tree)
        return tree

    return find
