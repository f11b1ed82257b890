"""A network as it is for now, with what looks at its inputs and layers, and its recorded steps."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from npnn.acceptance import Acceptance
from npnn.network import Network
from npnn.step import predict_step, train_step
from npnn.watch import Watch

if TYPE_CHECKING:
    from npnn.backends.backend import Step
    from npnn.optimizers import Optimizer
    from npnn.runner import Runner

MOST_OPTIMIZERS = 4  # whose recorded steps are kept


class Side:
    """A network, with what looks at its inputs and layers, and its recorded steps."""

    def __init__(self, network: Network, alone: bool, capture: bool) -> None:
        self.network, self.alone = network, alone
        self.accept = Acceptance(network)
        self.watch = Watch(network.backend.dtype_name, keeps=not capture)
        self._training: OrderedDict[object, Step] = OrderedDict()  # by the optimizer's recipe
        self._prediction: Step | None = None

    def training(self, optimizer: Optimizer, runner: Runner) -> Step:
        """Return the training step of an optimizer, recorded or to be."""
        recipe = optimizer.recipe()
        if recipe not in self._training:
            step = train_step(self.network, optimizer.twin(), runner.backend, self.watch)
            self._training[recipe] = self.capture(runner, step)
            while len(self._training) > MOST_OPTIMIZERS:
                self._training.popitem(last=False)
        return self._training[recipe]

    def prediction(self, runner: Runner) -> Step:
        """Return the prediction, recorded or to be."""
        if self._prediction is None:
            self._prediction = self.capture(runner, predict_step(self.network, self.watch))
        return self._prediction

    def capture(self, runner: Runner, step: Step) -> Step:
        """Return what runs a step, as the model wants it."""
        backend = runner.backend
        return (backend.capture if runner.model.capture else backend.uncaptured)(step)
