"""What a plan for a GPU is made of: kernels, and products with what rides on them.

It is laid out on shadows of the device's memory, by the same passes as a plan on the CPU; the
addresses of the device take the place of theirs only where a kernel is handed its arguments.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from npnn.backends.gpu.cupy_shadows import ALIGNED, Region, Shadows
from npnn.backends.gpu.kernels import OPTIONS, PRELUDE, TYPES, C, Launch
from npnn.backends.gpu.loops import CudaLoop, KernelWriter
from npnn.backends.gpu.operations import WRITE, write_copy, write_elementwise
from npnn.backends.gpu.products import ProductLaunch
from npnn.backends.operations.kind import Call, Memory
from npnn.backends.operations.product import lies
from npnn.backends.planning.draft import Draft
from npnn.backends.planning.fusion import fuse
from npnn.backends.planning.target import Target
from npnn.backends.recording.node import Node, NotRecorded, replay_views

if TYPE_CHECKING:
    from npnn.backends.gpu.cupy_plan import CupyPlan
    from npnn.backends.libraries.cupy_backend import CupyBackend

VECTOR = 16  # bytes: what cuBLASLt may read of a bias at once


class Cuda(Target):
    """Launches on a device, for one plan.

    Parameters
    ----------
    backend : CupyBackend
        Whose device it is.
    """

    turns = False
    cuts_sums = False

    def __init__(self, backend: CupyBackend) -> None:
        self.backend, self.cupy = backend, backend.cupy
        self.shadows, self.kernels = Shadows(), list[Launch]()
        self.riders: dict[Node, list[Node]] = {}
        self.scratch_regions: list[Region] = []
        self.scratch_top = self.scratch_size = ALIGNED
        self.counter = self._scratch_at(0, np.dtype(np.int32), 1)

    # What rides on a product -------------------------------------------------------------------

    def group(self, draft: Draft) -> None:
        self.riders = self._riders(draft) if self.backend.products.epilogues else {}
        riding = {node for riders in self.riders.values() for node in riders}
        fuse(draft, partial(CudaLoop, riding))
        for product, riders in self.riders.items():
            draft.transient |= {product, *riders[:-1]}
        draft.groups = [
            [node for first in group for node in (first, *self.riders.get(first, ()))]
            for group in draft.groups
            if group[0] not in riding
        ]

    def _riders(self, draft: Draft) -> dict[Node, list[Node]]:
        """Find the biases, and rectifiers behind them, that a product's library computes with it.

        A bias whose sum goes into a kernel anyway is better computed there. The rectifier of
        cuBLASLt makes 0 of NaN: it serves training, where a NaN then shows in the parameters, and
        no prediction.
        """
        users, outside = draft.users_of_all(), draft.outside
        found: dict[Node, list[Node]] = {}
        for product in draft.nodes:
            followers = users.get(product, [])
            if product.op != "matmul" or len(followers) != 1 or product in outside:
                continue
            added = followers[0]
            if not _adds_bias(added, product) or not self._is_aligned(draft, _bias_of(added)):
                continue
            after = users.get(added, [])
            alone = len(after) == 1 and added not in outside
            if alone and draft.carry and _rectifies(after[0], added):
                found[product] = [added, after[0]]
            elif all(user.op == "matmul" for user in after):
                found[product] = [added]
        return found

    def _is_aligned(self, draft: Draft, bias: Node) -> bool:
        """Return whether a bias begins where cuBLASLt expects one; it does not ask."""
        array = draft.bound.get(bias.base)
        return array is not None and self.alignment(replay_views(bias, array)) % VECTOR == 0

    # Launches ----------------------------------------------------------------------------------

    def calls(self, group: list[Node], memory: Memory) -> list[Call]:
        plan = cast("CupyPlan", memory)
        self.scratch_top = ALIGNED
        loop = plan.draft.loops.get(group[0])
        if group[0] in self.riders:
            launches: list[Any] = self._write_product(plan, *group)
        elif loop is not None:
            assert isinstance(loop, CudaLoop)
            launches = [*KernelWriter(plan, loop).launches()]
        else:
            launches = [launch for node in group for launch in self._written(plan, node)]
        return [(launch, ()) for launch in launches]

    def write(self, memory: Memory, array: np.ndarray, value: Node) -> list[Call]:
        plan = cast("CupyPlan", memory)
        return [(launch, ()) for launch in write_copy(plan, array, plan.array(value))]

    def kernel(
        self, arrays: dict[str, np.ndarray], lines: list[str], blocks: int, block: tuple[int, ...]
    ) -> Launch:
        """Take in a kernel, and return what launches it."""
        self.kernels.append(Launch(f"k{len(self.kernels)}", arrays, lines, blocks, block))
        return self.kernels[-1]

    @property
    def source(self) -> str:
        """The source of all kernels, which are compiled together."""
        return "\n".join([PRELUDE, *(kernel.text for kernel in self.kernels)])

    def _written(self, plan: CupyPlan, node: Node) -> list[Any]:
        if node.op == "matmul":
            return self._write_product(plan, node)
        how = WRITE.get(node.op, write_elementwise if C.knows(node.op) else None)
        if how is None:
            raise NotRecorded(f"{node.op}(), of which there is no kernel")
        return how(plan, node)

    def _write_product(self, plan: CupyPlan, node: Node, *riders: Node) -> list[Any]:
        if not node.size:
            return []
        if node.dtype.kind != "f" or not node.args[0].size:
            raise NotRecorded(f"a product of {node.dtype} over {node.args[0].shape[-1]} columns")
        a, b = map(plan.array, node.args)
        out = plan.array(riders[-1] if riders else node).reshape(node.shape)
        bias = plan.array(_bias_of(riders[0])).reshape(-1) if riders else None
        if a.ndim > 2 and b.ndim == 2 and a.flags.c_contiguous:
            a, out = a.reshape(-1, a.shape[-1]), out.reshape(-1, out.shape[-1])
        launches: list[Any] = []
        a, b = (self._factor(plan, x, node.dtype, launches) for x in (a, b))
        lead = out.shape[:-2] or (1,)
        a, b, out = (np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (a, b, out))
        for place in np.ndindex(lead[:-1]):
            arrays = a[place], b[place], out[place]
            launches.append(ProductLaunch(self.backend.products, arrays, bias, len(riders) > 1))
        return launches

    def _factor(
        self, plan: CupyPlan, x: np.ndarray, dtype: np.dtype[Any], launches: list[Any]
    ) -> np.ndarray:
        """Return a factor as the libraries can read it, copied if need be."""
        first = x[(0,) * (x.ndim - 2)]
        if x.dtype == dtype and min(x.strides) >= 0 and lies(first) is not None:
            return x
        copied = self.scratch_array(TYPES[dtype.name], x.size).reshape(x.shape)
        launches += write_copy(plan, copied, x)
        return copied

    # Memory ------------------------------------------------------------------------------------

    def memory(self, draft: Draft, nbytes: int) -> np.ndarray:
        batch_size = max((n.shape[0] for n in draft.inputs if n.shape), default=1)
        # The gradients take as much, whatever the batch.
        fixed = sum(join.nbytes for join in {join for join, _ in draft.parts.values()})
        owner = self.backend.allocate(nbytes, batch_size, fixed)
        return self.shadows.add(Region(nbytes, owner.ptr, owner)).bytes[:nbytes]

    def constant(self, node: Node) -> np.ndarray:
        # It is copied to the device once.
        array = self.cupy.asarray(np.ascontiguousarray(super().constant(node)))
        return self.shadows.of(array).reshape(node.shape)

    def scratch_array(self, ctype: str, count: int) -> np.ndarray:
        """Return memory for the launches of one operation among themselves."""
        dtype = np.dtype(next(name for name, c in TYPES.items() if c == ctype))
        start = self.scratch_top
        self.scratch_top += -(-count * dtype.itemsize // ALIGNED) * ALIGNED
        self.scratch_size = max(self.scratch_size, self.scratch_top)
        return self._scratch_at(start, dtype, count)

    def _scratch_at(self, start: int, dtype: np.dtype[Any], count: int) -> np.ndarray:
        region = self.shadows.add(Region(count * dtype.itemsize))
        region.owner = start
        self.scratch_regions.append(region)
        return region.bytes[: count * dtype.itemsize].view(dtype)

    def alignment(self, shadow: np.ndarray) -> int:
        """Return the last digits of the address that a shadow stands for."""
        region, offset = self.shadows.where(shadow)
        return ((region.address or 0) + offset) % ALIGNED

    def make_ready(self, launches: Iterable[Any]) -> None:
        """Give the scratch memory its place, compile the kernels and resolve their arguments."""
        scratch = self.cupy.zeros(self.scratch_size, np.uint8)
        for region in self.scratch_regions:
            region.address, region.owner = scratch.data.ptr + region.owner, scratch
        module = self.cupy.RawModule(code=self.source, options=OPTIONS)
        for kernel in self.kernels:
            kernel.function = module.get_function(kernel.name)
            kernel.arguments = tuple(map(self.shadows.pointer, kernel.arrays.values()))
        for launch in launches:
            if isinstance(launch, ProductLaunch):
                launch.make_ready(self.shadows)


def _bias_of(added: Node) -> Node:
    return next(arg for arg in added.args if arg.base.op == "leaf")


def _adds_bias(node: Node, product: Node) -> bool:
    """Return whether a parameter's row is added to each row of a product, and nothing else."""
    if node.op != "add" or node.dtype != product.dtype or len(node.args) != 2:
        return False
    rows = [arg for arg in node.args if arg.base is product]
    biases = [arg for arg in node.args if arg.base.op == "leaf" and arg.dtype == product.dtype]
    if len(rows) != 1 or len(biases) != 1:
        return False
    row, bias, columns = rows[0], biases[0], product.shape[-1]
    plain = row is product or (row.op == "reshape" and row.args == (product,))
    one_row = bias.shape[-1:] == (columns,) and bias.size == columns
    return plain and one_row and row.shape == node.shape and node.shape[-1:] == (columns,)


def _rectifies(node: Node, x: Node) -> bool:
    """Return whether `node` is the larger one of each element of `x` and zero."""
    if node.op != "maximum" or x not in node.args or (node.shape, node.dtype) != (x.shape, x.dtype):
        return False
    other = [arg for arg in node.args if arg is not x]
    return len(other) == 1 and other[0].value is not None and not other[0].value.any()
