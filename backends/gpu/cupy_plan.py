"""The static plan on a GPU: fused kernels and matrix products, replayed as one CUDA graph.

It is laid out on shadows of the device's memory, by the same code as a plan on the CPU; the
addresses of the device take the place of theirs only where a kernel is handed its arguments.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from npnn.backends.gpu.cupy_letter import Letter
from npnn.backends.gpu.cupy_shadows import ALIGNED, Region, Shadows
from npnn.backends.gpu.kernels import (
    OPTIONS,
    TYPES,
    C,
    Coordinates,
    Launch,
    Sources,
)
from npnn.backends.gpu.loops import CudaLoop, KernelWriter
from npnn.backends.gpu.operations import WRITE, write_copy, write_elementwise
from npnn.backends.gpu.products import Matrix, Product
from npnn.backends.operations.calls import Call, Memory
from npnn.backends.planning.fusion import FusedPlan
from npnn.backends.recording.tracer import Node, NotRecorded
from npnn.backends.tuning import FLAT_THREADS, MOST_BLOCKS

if TYPE_CHECKING:
    from npnn.backends.libraries.cupy_backend import CupyBackend

VECTOR = 16  # bytes: what cuBLASLt may read of a bias at once


class CupyPlan(FusedPlan):
    """A step on the device: the same loops, written in CUDA C.

    Parameters
    ----------
    backend : CupyBackend
        Whose device it is.
    nodes, carry, data, inputs, outputs
        As for :class:`npnn.backends.planning.plan.Plan`, the arrays being CuPy's.
    numbers : set of Node
        The inputs that come from the host.
    """

    def __init__(
        self,
        backend: CupyBackend,
        nodes: list[Node],
        carry: list[tuple[Node, Any, Node]],
        data: list[tuple[Node, Any]],
        inputs: list[Node],
        outputs: list[Node],
        numbers: set[Node],
    ) -> None:
        self.numbers = numbers
        self.backend, self.cupy = backend, backend.cupy
        self.shadows, self.sources = Shadows(), Sources()
        self.scratch_regions: list[Region] = []
        self.scratch_top = self._scratch_size = ALIGNED
        self.counter = self._scratch_at(0, np.dtype(np.int32), 1)
        for node in (*nodes, *inputs):
            if node.dtype.name not in TYPES:
                raise NotRecorded(f"{node.op}() of {node.dtype}, which no kernel knows")
        super().__init__(
            nodes,
            [(leaf, self.shadows.of(array), result) for leaf, array, result in carry],
            [(leaf, self.shadows.of(array)) for leaf, array in data],
            inputs,
            outputs,
        )
        self.entering = [n for n in self.inputs if n in self.users or n in self.kept]
        self.letter = Letter(self.entering, self.numbers, len(self.outputs))
        self.block = self.cupy.zeros(self.letter.nbytes, np.uint8)
        # One small copy to the device says all. It has left the host's memory when it returns.
        self.send = self.letter.sender(self.cupy, self.block, self.outputs)
        self.enter, self.leave = self._write_entrance(), self._write_exit()
        passages = [self.enter, *(function for function, _ in self.calls), self.leave]
        self.launches: list[Any] = [launch for launch in passages if launch is not None]
        self._make_ready()
        self.pieces: list[Any] | None = None
        self.has_run = False

    # What rides on a product -------------------------------------------------------------------

    def group(self, nodes: list[Node]) -> list[list[Node]]:
        self.riders = self._riders(nodes) if self.backend.products.epilogues else {}
        riding = {node for riders in self.riders.values() for node in riders}
        self.loop_type = partial(CudaLoop, riding)
        groups = super().group(nodes)
        for product, riders in self.riders.items():
            self.transient |= {product, *riders[:-1]}
        return [
            [node for first in group for node in (first, *self.riders.get(first, ()))]
            for group in groups
            if group[0] not in riding
        ]

    def _riders(self, nodes: list[Node]) -> dict[Node, list[Node]]:
        """Find the biases, and rectifiers behind them, that a product's library computes with it.

        A bias whose sum goes into a kernel anyway is better computed there. The rectifier of
        cuBLASLt makes 0 of NaN: it serves training, where a NaN then shows in the parameters, and
        no prediction.
        """
        users: dict[Node, list[Node]] = {}
        for node in nodes:
            for base in {arg.base for arg in node.args}:
                users.setdefault(base, []).append(node)
        outside = {n.base for n in (*self.outputs, *(result for _, _, result in self.carry))}
        found: dict[Node, list[Node]] = {}
        for product in nodes:
            followers = users.get(product, [])
            if product.op != "matmul" or len(followers) != 1 or product in outside:
                continue
            added = followers[0]
            if not _adds_bias(added, product) or not self._is_aligned(_bias_of(added)):
                continue
            after = users.get(added, [])
            alone = len(after) == 1 and added not in outside
            if alone and self.carry and _rectifies(after[0], added):
                found[product] = [added, after[0]]
            elif all(user.op == "matmul" for user in after):
                found[product] = [added]
        return found

    def _is_aligned(self, bias: Node) -> bool:
        """Return whether a bias begins where cuBLASLt expects one; it does not ask."""
        bound = {leaf for leaf, _, _ in self.carry} | {leaf for leaf, _ in self.data}
        return bias.base in bound and self.alignment(self._look(bias)) % VECTOR == 0

    # Running it --------------------------------------------------------------------------------

    def run(self, group: list[Node], memory: Memory) -> list[Call]:
        self.scratch_top = ALIGNED
        loop = self._loop(group)
        if group[0] in self.riders:
            launches: list[Any] = self._write_product(*group)
        elif loop is not None:
            assert isinstance(loop, CudaLoop)
            launches = [*KernelWriter(self, loop).launches()]
        else:
            launches = [launch for node in group for launch in self._written(node)]
        return [(launch, ()) for launch in launches]

    def replay(self) -> None:
        """Do the step on what the plan's inputs hold, without waiting for it."""
        if not self.has_run:
            # The first time, libraries set themselves up, which no graph can contain.
            self.has_run = True
            for launch in self.launches:
                launch()
            return
        if self.pieces is None:
            self.pieces = self._capture()
        for piece in self.pieces:
            piece()

    def _capture(self) -> list[Any]:
        """Return the calls that do the step: graphs, and what no graph can contain between."""
        runs: list[list[Any]] = [[]]
        for launch in self.launches:
            if launch.capturable:
                runs[-1].append(launch)
            else:
                runs += [[launch], []]
        stream = self.cupy.cuda.Stream(non_blocking=True)
        pieces: list[Any] = []
        try:
            for run in runs:
                # A graph of one kernel costs what the kernel costs.
                many = len(run) > 1
                pieces += [self._graph(stream, run)] if many else run
        except Exception as error:
            warnings.warn(
                f"the step is not made a CUDA graph, because {type(error).__name__} was raised: "
                f"{error}; its kernels are launched one by one",
                RuntimeWarning,
                stacklevel=2,
            )
            return self.launches
        return pieces

    def _graph(self, stream: Any, run: list[Any]) -> Any:
        with stream:
            stream.begin_capture()
            try:
                for launch in run:
                    launch()
            finally:
                graph = stream.end_capture()
        return graph.launch

    # What goes in and out ----------------------------------------------------------------------

    def _write_entrance(self) -> Launch | None:
        """Write the kernel that puts a batch, and the numbers of a step, where the plan reads them.

        What changes with each step, it finds in the block: a number itself, or an address.
        """
        lines = []
        arrays = [self.array(leaf) for leaf in self.entering]
        for number, (leaf, target) in enumerate(zip(self.entering, arrays, strict=True)):
            if leaf in self.numbers:
                word = f"({TYPES[leaf.dtype.name]}*)((long long*)block + {number})"
                lines.append(f"if (thread == 0) y{number}[0] = *{word};")
                continue
            ctype = TYPES[leaf.dtype.name]
            lines.append(f"const {ctype}* x{number} = ((const {ctype}**)block)[{number}];")
            lines.append(_each(target.size, f"y{number}[e] = x{number}[e];"))
        return self._write_passage("y", lines, arrays)

    def _write_exit(self) -> Launch | None:
        """Write the kernel that copies the outputs into arrays of their own."""
        lines = []
        arrays = [self.array(node) for node in self.outputs]
        for number, array in enumerate(arrays):
            ctype, word = TYPES[array.dtype.name], len(self.entering) + number
            at = Coordinates(array.shape, range(array.ndim), [array], "e", "long long")
            place = " + ".join(at.terms(array)) or "0"
            lines.append(f"{ctype}* y{number} = (({ctype}**)block)[{word}];")
            lines.append(
                _each(array.size, " ".join([*at.lines, f"y{number}[e] = x{number}[{place}];"]))
            )
        return self._write_passage("x", lines, arrays)

    def _write_passage(
        self, name: str, lines: list[str], arrays: list[np.ndarray]
    ) -> Launch | None:
        if not arrays:
            return None
        parameters = [f"{TYPES[a.dtype.name]}* {name}{n}" for n, a in enumerate(arrays)]
        largest = max(array.size for array in arrays)
        blocks = min(max(1, -(-largest // (4 * FLAT_THREADS))), MOST_BLOCKS)
        start = [f"const long long thread = blockIdx.x * {FLAT_THREADS}LL + threadIdx.x;"]
        return self.sources.add(
            ["const void* block", *parameters],
            [self.shadows.of(self.block), *arrays],
            start + lines,
            (blocks,),
            (FLAT_THREADS,),
        )

    def take_in(self, values: list[Any]) -> None:
        """Have a value for each of `entering` copied into the plan's memory."""
        self.given = values  # what is timed takes them in again
        self.send(*values)
        if self.enter is not None:
            self.enter()

    def keep_inputs(self) -> Callable[[], None]:
        return (lambda: None) if self.enter is None else self.enter

    def wait(self) -> None:
        self.cupy.cuda.get_current_stream().synchronize()

    # Memory ------------------------------------------------------------------------------------

    def memory(self, nbytes: int) -> np.ndarray:
        batch_size = max((n.shape[0] for n in self.inputs if n.shape), default=1)
        # The gradients take as much, whatever the batch.
        fixed = sum(join.nbytes for join in {join for join, _ in self.parts.values()})
        owner = self.backend.allocate(nbytes, batch_size, fixed)
        return self.shadows.add(Region(nbytes, owner.ptr, owner)).bytes[:nbytes]

    def _array(self, node: Node) -> np.ndarray:
        if node.view is None and node.value is not None:
            # Constants are copied to the device once.
            array = self.cupy.asarray(np.ascontiguousarray(node.value))
            return self.shadows.of(array).reshape(node.shape)
        return super()._array(node)

    def scratch_array(self, ctype: str, count: int) -> np.ndarray:
        """Return memory for the launches of one operation among themselves."""
        dtype = np.dtype(next(name for name, c in TYPES.items() if c == ctype))
        start = self.scratch_top
        self.scratch_top += -(-count * dtype.itemsize // ALIGNED) * ALIGNED
        self._scratch_size = max(self._scratch_size, self.scratch_top)
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

    def _make_ready(self) -> None:
        """Give the scratch memory its place, compile the kernels and resolve their arguments."""
        scratch = self.cupy.zeros(self._scratch_size, np.uint8)
        for region in self.scratch_regions:
            region.address, region.owner = scratch.data.ptr + region.owner, scratch
        module = self.cupy.RawModule(code=self.sources.text, options=OPTIONS)
        for launch in self.sources.launches:
            launch.function = module.get_function(launch.name)
            launch.arguments = tuple(map(self.shadows.pointer, launch.arrays))
        for launch in self.launches:
            if isinstance(launch, ProductLaunch):
                launch.make_ready(self.shadows)

    @property
    def nbytes(self) -> int:
        """Bytes of device memory; parameters, moments and data are not in it."""
        return self.arena.nbytes + self._scratch_size

    # Operations --------------------------------------------------------------------------------

    def write(self, array: np.ndarray, result: Node) -> list[Call]:
        return [(launch, ()) for launch in write_copy(self, array, self.array(result))]

    def _written(self, node: Node) -> list[Any]:
        if node.op == "matmul":
            return self._write_product(node)
        how = WRITE.get(node.op, write_elementwise if C.knows(node.op) else None)
        if how is None:
            raise NotRecorded(f"{node.op}(), of which there is no kernel")
        return how(self, node)

    def _write_product(self, node: Node, *riders: Node) -> list[Any]:
        if not node.size:
            return []
        if node.dtype.kind != "f" or not node.args[0].size:
            raise NotRecorded(f"a product of {node.dtype} over {node.args[0].shape[-1]} columns")
        a, b = map(self.array, node.args)
        out = self.array(riders[-1] if riders else node).reshape(node.shape)
        bias = self.array(_bias_of(riders[0])).reshape(-1) if riders else None
        if a.ndim > 2 and b.ndim == 2 and a.flags.c_contiguous:
            a, out = a.reshape(-1, a.shape[-1]), out.reshape(-1, out.shape[-1])
        launches: list[Any] = []
        a, b = (self._factor(x, node.dtype, launches) for x in (a, b))
        lead = out.shape[:-2] or (1,)
        a, b, out = (np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (a, b, out))
        for place in np.ndindex(lead[:-1]):
            arrays = a[place], b[place], out[place]
            launches.append(ProductLaunch(self.backend.products, arrays, bias, len(riders) > 1))
        return launches

    def _factor(self, x: np.ndarray, dtype: np.dtype[Any], launches: list[Any]) -> np.ndarray:
        """Return a factor as the libraries can read it, copied if need be."""
        first = x[(0,) * (x.ndim - 2)]
        if x.dtype == dtype and min(x.strides) >= 0 and Matrix.of(first, 0) is not None:
            return x
        copied = self.scratch_array(TYPES[dtype.name], x.size).reshape(x.shape)
        launches += write_copy(self, copied, x)
        return copied

    def _lies_better_turned(self, join: Node) -> bool:
        return False

    def _loop(self, group: list[Node]) -> Any:
        return self.loops.get(group[0])


class ProductLaunch:
    """One product, or many of one shape, that is made ready when all memory has its place."""

    def __init__(
        self,
        products: Any,
        arrays: tuple[np.ndarray, np.ndarray, np.ndarray],
        bias: np.ndarray | None,
        relu: bool,
    ) -> None:
        self.products = products
        self.arrays, self.bias, self.relu = arrays, bias, relu
        self.call: Any = None

    @property
    def capturable(self) -> bool:
        """Whether it can be part of a CUDA graph."""
        return bool(self.call.capturable)

    def make_ready(self, shadows: Shadows) -> None:
        """Have the library choose how to compute it."""
        a, b, out = (Matrix.of(x, shadows.pointer(x)) for x in self.arrays)
        assert a is not None
        assert b is not None
        assert out is not None
        bias = 0 if self.bias is None else shadows.pointer(self.bias)
        count, dtype = len(self.arrays[2]), self.arrays[2].dtype.name
        self.call = self.products.make(Product(a, b, out, count, dtype, bias, self.relu))

    def __call__(self) -> None:
        """Put the product on the current stream."""
        self.call()


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


def _each(size: int, line: str) -> str:
    step = f"gridDim.x * {FLAT_THREADS}LL"
    return f"for (long long e = thread; e < {size}; e += {step}) {{ {line} }}"
