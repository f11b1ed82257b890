"""A captured step whose plan is on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.backends.backend import Step, Tree
from npnn.backends.gpu.cupy_plan import CupyPlan
from npnn.backends.gpu.cupy_shadows import shadow_of
from npnn.backends.gpu.cupy_target import Cuda
from npnn.backends.planning.draft import Draft
from npnn.backends.planning.plan import Plan
from npnn.backends.recording.capture import CapturedStep, defined, expression, source
from npnn.backends.recording.node import Node
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

    def __call__(self, carry: Tree, data: Tree, inputs: Tree) -> tuple[Tree, Tree]:
        with self.backend.current():
            return super().__call__(carry, data, inputs)

    def plan(self, carry: Tree, data: Tree, inputs: Tree) -> Plan | None:
        with self.backend.current():
            return super().plan(carry, data, inputs)

    def sample(self, array: Any) -> np.ndarray:
        return shadow_of(array)[0]

    def plan_of(self, draft: Draft, values: list[Any]) -> CupyPlan:
        given, target = zip(draft.inputs, values, strict=True), Cuda(self.backend)
        on_device, shadow = self.backend.cupy.ndarray, target.shadows.of
        numbers = {n for n, x in given if n.shape == () and not isinstance(x, on_device)}
        draft.carry = [(leaf, shadow(array), result) for leaf, array, result in draft.carry]
        draft.data = [(leaf, shadow(array)) for leaf, array in draft.data]
        return CupyPlan(draft, target, numbers)

    def replay_of(
        self, plan: CupyPlan, leaves: dict[Path, Node], outputs: Any
    ) -> Callable[..., Any]:
        paths = {leaf: path for path, leaf in leaves.items()}
        given = ", ".join(expression("inputs", paths[leaf]) for leaf in plan.entering)
        numbers = iter(range(len(plan.draft.outputs)))
        returned = source(mapped(outputs, lambda _: f"arrays[{next(numbers)}]"))
        lines = [f"arrays = send({given})", "replay_plan()", f"return carry, {returned}"]
        names = {"send": plan.send, "replay_plan": plan.replay}
        return defined("replay(carry, data, inputs)", lines, names)

    def fill(self, plan: CupyPlan, values: list[Any]) -> None:
        given = dict(zip(plan.draft.inputs, values, strict=True))
        plan.take_in([given[leaf] for leaf in plan.entering])
