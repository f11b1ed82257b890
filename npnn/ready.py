"""Training steps made ready: what one has in common with the next is looked up once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from npnn.interrupts import hold, release
from npnn.metrics import sums_of, take_sums
from npnn.network import arrays_in
from npnn.step import train_step
from npnn.trees import len_of

if TYPE_CHECKING:
    import numpy as np

    from npnn.backends.backend import Tree
    from npnn.backends.planning.plan import Plan
    from npnn.optimizers import Optimizer
    from npnn.runner import Runner
    from npnn.side import Side


class Ready:
    """The training steps of an optimizer, until a setting of it or of what it trains is changed.

    It does not hold the optimizer: the moments of one that is gone are given to the next.

    Parameters
    ----------
    runner : Runner
        The model's.
    side : Side
        What is trained.
    optimizer : Optimizer
        Whose moments are those of the packed parameters.
    """

    def __init__(self, runner: Runner, side: Side, optimizer: Optimizer) -> None:
        self.runner, self.side, self.network = runner, side, side.network
        self.captured, self.in_place = runner.model.capture, runner.backend.in_place
        self.step = side.training(optimizer, runner)
        self._carry = self._new_carry(optimizer)
        self._given: Tree | None = None
        self._data: Tree = {}

    def __call__(
        self,
        optimizer: Optimizer,
        data: Tree,
        inputs: Tree,
        num_samples: int,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Do one training step on accepted arrays, and store what it gives."""
        network = self.network
        losses, own = network.losses, optimizer.__dict__
        weighted = "w" in inputs or "w" in data
        for loss in losses:
            loss.begin(True)
        # What is captured writes into the parameters, or ends; the code of others may not.
        held_back = self.captured and hold()
        own["steps"] += 1
        try:
            inputs["scalars"] = optimizer.scalars()
            inputs["noise"] = (
                self.runner.draw_noise(self.side, num_samples, rng) if network.noisy else []
            )
            inputs["metrics"] = sums_of(losses, self.runner.zero, weighted)
            carry = self._carry
            if not self._is_carried(carry, optimizer):
                carry = self._carry = self._new_carry(optimizer)
            if data is not self._given or not self.in_place:
                self._given, self._data = data, self._with_frozen(data)
            updated, outputs = self.step(carry, self._data, inputs)
            held_back = held_back or hold()
            if updated is not carry:
                self._store(optimizer, updated)
            take_sums(losses, outputs["metrics"], 0 if weighted else num_samples)
        except BaseException:
            own["steps"] -= 1
            raise
        finally:
            if held_back:
                release()

    def plan(self, optimizer: Optimizer, inputs: Tree) -> Plan | None:
        """Return the static plan of a step on a batch; None if the backend makes none."""
        runner, side, network = self.runner, self.side, self.network
        captured = side.capture(runner, train_step(network, optimizer, runner.backend, side.watch))
        if not hasattr(captured, "plan"):
            return None
        steps, optimizer.steps = optimizer.steps, max(1, optimizer.steps)
        inputs = {
            **inputs,
            "scalars": optimizer.scalars(),
            "noise": runner.draw_noise(side, len_of(inputs["x"])),
            "metrics": sums_of(network.losses, runner.zero, "w" in inputs),
        }
        optimizer.steps = steps
        carry = self._new_carry(optimizer)
        plan: Plan | None = captured.plan(carry, self._with_frozen({}), inputs)
        return plan

    def _with_frozen(self, data: Tree) -> Tree:
        return {**data, "frozen": arrays_in(self.network.frozen)}

    def _new_carry(self, optimizer: Optimizer) -> Tree:
        return {
            "parameters": self.runner.packing.arrays,
            "moments": optimizer.state,
            "state": arrays_in(self.network.state),
            "scaling": self.runner.scaling,
        }

    def _is_carried(self, carry: Tree, optimizer: Optimizer) -> bool:
        """Return whether a carry's arrays are those of now."""
        if carry["parameters"] is not self.runner.packing.arrays or not self.in_place:
            return False
        if carry["moments"] is not optimizer.state or carry["scaling"] is not self.runner.scaling:
            return False
        for slot, array in zip(self.network.state, carry["state"], strict=True):
            if slot.layer.__dict__[slot.attribute] is not array:
                return False
        return True

    def _store(self, optimizer: Optimizer, updated: Tree) -> None:
        runner = self.runner
        store = runner.backend.store
        runner.scaling = updated["scaling"]
        optimizer.state = [
            store(*pair) for pair in zip(optimizer.state, updated["moments"], strict=True)
        ]
        runner.packing.replace(updated["parameters"])
        for slot, array in zip(self.network.state, updated["state"], strict=True):
            slot.put(array)
