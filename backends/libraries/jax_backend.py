"""JAX: the step is compiled by XLA, once for each batch shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from npnn.backends.backend import Array, Backend, Step, Tree, missing, warn_of_no_capture
from npnn.backends.host import host_array
from npnn.errors import MissingError


class JaxBackend(Backend):
    """JAX arrays, which cannot be written: parameters stay separate arrays.

    XLA also fuses an update for each parameter better than one of all of them joined.
    """

    name = "jax"
    in_place = False
    execution = "one program that XLA compiles and lays out"

    def __init__(
        self,
        dtype: str = "float32",
        device: str | int | None = None,
        precision: str | None = None,
    ) -> None:
        super().__init__(dtype, device, precision)
        if dtype == "float64":
            # JAX turns float64 into float32 without this, for all its arrays.
            self.jax.config.update("jax_enable_x64", True)

    def load(self) -> None:
        try:
            import jax
        except ImportError:
            raise missing(
                "JAX", self.name, "pip install 'npnn-xp[jax]', or pip install jax"
            ) from None
        self.jax, self.xp = jax, jax.numpy

    def find_device(self, device: str | int | None) -> Any:
        if device is None:
            return self.jax.devices()[0]
        platform, _, index = str(device).partition(":")
        if isinstance(device, int):
            platform, index = "cuda", str(device)
        try:
            found = self.jax.devices(platform)
        except RuntimeError:
            if platform in ("cuda", "gpu", "rocm", "tpu"):
                raise MissingError(
                    f"device {device!r}: JAX sees no {platform} device here: a driver, or JAX's "
                    "own build for it (pip install 'jax[cuda13]'), is missing"
                ) from None
            found = []
        if not (index or "0").isdecimal() or int(index or 0) >= len(found):
            raise ValueError(f"device must be one of {self.devices()}, not {device!r}")
        return found[int(index or 0)]

    @classmethod
    def devices(cls) -> list[str]:
        import jax

        found = [*jax.devices(), *(jax.devices("cpu") if jax.default_backend() != "cpu" else [])]
        return ["cpu" if d.platform == "cpu" else f"{d.platform}:{d.id}" for d in found]

    def owns(self, x: Any) -> bool:
        concrete = isinstance(x, self.jax.Array) and not isinstance(x, self.jax.core.Tracer)
        return concrete and x.devices() == {self.device}

    def convert(self, x: Any) -> Array:
        if not isinstance(x, self.jax.Array):
            # Copied: JAX may read this memory later, when its owner has written into it again.
            x = np.array(self._as_jax_holds_it(host_array(x)))
        return self.jax.device_put(x, self.device)

    def _as_jax_holds_it(self, x: np.ndarray) -> np.ndarray:
        """Return a NumPy array of numbers of 32 bits, where JAX would cut those of 64 down."""
        if x.dtype.itemsize < 8 or self.jax.config.jax_enable_x64:
            return x
        if x.dtype.kind == "f":
            return x.astype(np.float32)
        narrow = x.astype(np.int32)
        if (narrow != x).any():
            place = tuple(int(i) for i in np.argwhere(narrow != x)[0])
            raise ValueError(
                f"integers must fit 32 bits, but there is a {x[place]} at {place} (counted from "
                "0): jax.config.update('jax_enable_x64', True) lets JAX hold 64"
            )
        return narrow

    def unrounded(self, x: Any) -> Array:
        # Within a function that JAX compiles, too.
        return self.convert(x) if isinstance(x, self.jax.core.Tracer) else super().unrounded(x)

    def on_host(self, x: Array) -> np.ndarray | None:
        return self.to_numpy(x) if self.device.platform == "cpu" else None

    def synchronize(self) -> None:
        for array in self.jax.live_arrays():
            array.block_until_ready()

    def capture(self, step: Step) -> Step:
        return JaxStep(step, self.jax)


class JaxStep:
    """A step that XLA compiles at its first call for each form of its arrays.

    One that JAX cannot trace, since it looks at a value, runs as it stands.
    """

    def __init__(self, step: Step, jax: Any) -> None:
        self.step, self.recordable = step, True
        self.compiled = jax.jit(step, donate_argnums=0)
        found = jax.errors
        self.of_looks = (
            found.ConcretizationTypeError,
            found.NonConcreteBooleanIndexError,
            found.TracerArrayConversionError,
            found.TracerIntegerConversionError,
        )

    def __call__(self, carry: Tree, data: Tree, inputs: Tree) -> tuple[Tree, Tree]:
        """Return what the step gives; the arrays of `carry` may be overwritten."""
        if not self.recordable:
            return self.step(carry, data, inputs)
        try:
            return self.compiled(carry, data, inputs)  # type: ignore[no-any-return]
        except self.of_looks:  # while it is traced: nothing was computed, or overwritten
            pass
        result = self.step(carry, data, inputs)
        self.recordable = False  # unless that raises an error of its own
        warn_of_no_capture("it uses looking at a value", stacklevel=3)
        return result
