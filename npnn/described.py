"""What a model bears beside its layers: the loss behind it, the names of its classes, its norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from npnn import checked, labels
from npnn.layers.layer import Link
from npnn.layers.row import Row
from npnn.locks import changed
from npnn.losses import LossLayer
from npnn.normalization import Normalization


class Described(Row):
    """Layers in a row, with what is known of the inputs and of the outputs."""

    _norm: Normalization | None = None
    _target_norm: Normalization | None = None
    _class_names: list[str] | None = None
    _details: dict[str, Any]

    def check_not_fitting(self, what: str) -> None:
        """Raise the error for a change of what the data of a training were made for."""

    @property
    def details(self) -> dict[str, Any]:
        """What else is saved with the model."""
        return self._details

    @details.setter
    def details(self, details: dict[str, Any]) -> None:
        if not isinstance(details, dict):
            raise TypeError(f"details must be a dict, not {checked.shown(details)}")
        self._details = details

    @property
    def class_names(self) -> list[str] | None:
        """What the classes are called, in the order of the outputs."""
        return self._class_names

    @class_names.setter
    def class_names(self, names: Sequence[str] | None) -> None:
        found = None if names is None else checked.names(names, "class_names")
        if found is not None and isinstance(self.shape_out, tuple) and self._ends_here():
            labels.check_names(found, self.shape_out, "class_names")
        self._class_names = found

    def _ends_here(self) -> bool:
        """Return whether no other model follows, whose outputs the classes may be of."""
        return self._chain is None or (self._chain.is_loss and self._chain.chain is None)

    @property
    def norm(self) -> Normalization | None:
        """The map that raw inputs go through first."""
        return self._norm

    @norm.setter
    def norm(self, norm: Normalization | None) -> None:
        if norm is not None:
            checked.instance(norm, Normalization, "norm", "Normalization.standard(x)")
        with changed(self):
            self.check_not_fitting("norm")
            self._norm = norm

    @property
    def target_norm(self) -> Normalization | None:
        """The map that targets go through first, and outputs back: layers compute at its scale."""
        return self._target_norm

    @target_norm.setter
    def target_norm(self, norm: Normalization | None) -> None:
        if norm is not None:
            checked.instance(norm, Normalization, "target_norm", "Normalization.standard(t)")
            if norm.scale.size > 1:
                raise ValueError("target_norm must have one scale for all outputs")
        with changed(self):
            self.check_not_fitting("target_norm")
            self._target_norm = norm
            self.mark_changed()

    @property
    def chain(self) -> Any:
        """The loss that training makes small."""
        return self._chain

    @chain.setter
    def chain(self, loss: Link | None) -> None:
        if isinstance(loss, LossLayer) and self.shape_out is not None:
            try:
                loss.accept(self.shape_out)
            except ValueError as error:
                raise ValueError(f"{loss!r} after {self._layers[-1]!r}: {error}") from None
        with changed(self):
            self._follow(loss)
