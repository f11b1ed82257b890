"""Training steps on a GPU, in npnn and in its peers, each as its own users would write it.

``CONTESTANTS[name](workload)`` returns a function of a batch that puts a step on the device without
waiting for it, batches that lie there already, and a function that waits. Run as a program, this
file times one contestant on demand, as `contestants` does: a figure is the time of many steps,
waited for at the end, divided by their number.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import lenet5
import numpy as np
import workloads
from contestants import ALPHA, jax_network, jax_training
from workloads import Workload

REHEARSAL = "NPNN_REHEARSAL" in os.environ  # all of it small, where its speed means nothing
LARGE = Workload("large", (784, 4096, 4096, 10), 8192, "relu")
LENET5 = "lenet5"
ADAM = "adam"
PARAMETERS = 10_000 if REHEARSAL else 100_000_000  # that Adam alone is timed on
WORKLOADS = {**workloads.WORKLOADS, "large": LARGE}
if REHEARSAL:
    WORKLOADS = {
        name: w._replace(sizes=tuple(min(size, 32) for size in w.sizes), batch=8)
        for name, w in WORKLOADS.items()
    }
COLUMNS = (*WORKLOADS, LENET5, ADAM)
BATCHES = 8
IMAGES = 8 if REHEARSAL else 1024  # in a batch of LeNet-5


class Contestant(NamedTuple):
    step: Callable[..., Any]
    batches: list[tuple[Any, ...]]
    wait: Callable[[], Any]


def batches_of(name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return varied batches on the host."""
    if name == LENET5:
        rng = np.random.default_rng(1)
        eye = np.eye(10, dtype=np.float32)
        return [
            (
                rng.standard_normal((IMAGES, 28, 28, 1), dtype=np.float32),
                eye[rng.integers(0, 10, IMAGES)],
            )
            for _ in range(BATCHES)
        ]
    return workloads.batches(WORKLOADS[name], BATCHES)


def precision_of(name: str) -> str:
    """Return what the factors of products are rounded to: all contestants do the same."""
    return "tf32" if name == "large" else "float32"


# npnn --------------------------------------------------------------------------------------------


def npnn_cupy(name: str) -> Contestant:
    import npnn

    if name == ADAM:
        return _npnn_adam()
    if name == LENET5:
        layers = lenet5.npnn_layers()
    else:
        workload, layers = WORKLOADS[name], []
        activation = npnn.ReLU if workload.activation == "relu" else npnn.LeakyReLU
        for inputs, outputs in itertools.pairwise(workload.sizes):
            layers += [npnn.Dense(inputs, outputs), activation()]
        layers[-1] = npnn.Softmax()
    model = npnn.Sequential(layers, backend="cupy", precision=precision_of(name), seed=0)
    model.chain = npnn.CrossEntropyLoss()
    optimizer = npnn.Adam(alpha=ALPHA)
    optimizer.model = model
    asarray = model.backend.asarray
    pool = [(asarray(x), asarray(t)) for x, t in batches_of(name)]
    return Contestant(optimizer.step, pool, model.backend.synchronize)


def _npnn_adam() -> Contestant:
    import npnn

    backend, optimizer = npnn.backends.get("cupy"), npnn.Adam(alpha=ALPHA)
    carry = {key: backend.zeros((PARAMETERS,)) for key in "pmv"}
    data = {"g": backend.zeros((PARAMETERS,)) + 1e-3}

    def step(carry: Any, data: Any, inputs: Any) -> Any:
        p, m, v = optimizer.update(*(carry["p"], data["g"], carry["m"], carry["v"]), **inputs)
        return {"p": p, "m": m, "v": v}, {}

    captured = backend.capture(step)

    def run() -> None:
        optimizer.steps += 1
        captured(carry, data, optimizer.scalars())

    return Contestant(run, [()], backend.synchronize)


# PyTorch -----------------------------------------------------------------------------------------


def _torch_model(name: str) -> Any:
    from torch import nn

    if name == LENET5:
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.Tanh(), nn.MaxPool2d(2),
            nn.Conv2d(16, 120, 5), nn.Tanh(), nn.Flatten(),
            nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
        )  # fmt: skip
    workload, layers = WORKLOADS[name], []
    for inputs, outputs in itertools.pairwise(workload.sizes):
        layers += [
            nn.Linear(inputs, outputs),
            nn.ReLU() if workload.activation == "relu" else nn.LeakyReLU(0.1),
        ]
    return nn.Sequential(*layers[:-1])


def _torch_parts(name: str, capturable: bool) -> tuple[Any, Any, Any, list[tuple[Any, Any]]]:
    import torch
    from torch import nn

    rounded = precision_of(name) == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = rounded
    model = _torch_model(name).cuda()
    optimizer = torch.optim.Adam(model.parameters(), lr=ALPHA, fused=True, capturable=capturable)
    pool = []
    for x, t in batches_of(name):
        images = np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x
        pool.append((torch.from_numpy(images).cuda(), torch.from_numpy(t.argmax(1)).cuda()))
    return model, optimizer, nn.CrossEntropyLoss(), pool


def _torch_adam() -> Contestant:
    import torch

    p = torch.zeros(PARAMETERS, device="cuda", requires_grad=True)
    p.grad = torch.full_like(p, 1e-3)
    return Contestant(
        torch.optim.Adam([p], lr=ALPHA, fused=True).step, [()], torch.cuda.synchronize
    )


def torch_eager(name: str) -> Contestant:
    import torch

    if name == ADAM:
        return _torch_adam()
    model, optimizer, loss_function, pool = _torch_parts(name, capturable=False)

    def step(x: Any, c: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_function(model(x), c).backward()
        optimizer.step()

    return Contestant(step, pool, torch.cuda.synchronize)


def torch_graphs(name: str) -> Contestant:
    import torch

    if name == ADAM:
        return _torch_adam()
    model, optimizer, loss_function, pool = _torch_parts(name, capturable=True)
    x, c = pool[0][0].clone(), pool[0][1].clone()

    def whole_step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_function(model(x), c).backward()
        optimizer.step()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            whole_step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        loss_function(model(x), c).backward()
        optimizer.step()

    def step(new_x: Any, new_c: Any) -> None:
        x.copy_(new_x)
        c.copy_(new_c)
        graph.replay()

    return Contestant(step, pool, torch.cuda.synchronize)


def torch_compile(name: str) -> Contestant:
    import torch

    if name == ADAM:
        return _torch_adam()
    model, optimizer, loss_function, pool = _torch_parts(name, capturable=True)

    @torch.compile(mode="reduce-overhead")
    def loss(x: Any, c: Any) -> Any:
        return loss_function(model(x), c)

    def step(x: Any, c: Any) -> None:
        torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad(set_to_none=True)
        loss(x, c).backward()
        optimizer.step()

    return Contestant(step, pool, torch.cuda.synchronize)


# JAX ---------------------------------------------------------------------------------------------


def jax_jit(name: str) -> Contestant:
    import jax
    import jax.numpy as jnp

    exact = "tensorfloat32" if precision_of(name) == "tf32" else "float32"
    jax.config.update("jax_default_matmul_precision", exact)
    if name == ADAM:
        zeros = jnp.zeros(PARAMETERS, jnp.float32)
        step, wait = jax_training(lambda p: 1e-3 * jnp.sum(p), zeros, ALPHA, waits=False)
        return Contestant(step, [()], wait)
    loss, parameters = lenet5.jax_loss() if name == LENET5 else jax_network(WORKLOADS[name])
    step, wait = jax_training(loss, parameters, ALPHA, waits=False)
    return Contestant(step, [(jnp.asarray(x), jnp.asarray(t)) for x, t in batches_of(name)], wait)


CONTESTANTS: dict[str, Callable[[str], Contestant]] = {
    "npnn cupy": npnn_cupy,
    "PyTorch eager, fused Adam": torch_eager,
    "PyTorch, CUDA graph": torch_graphs,
    "PyTorch, torch.compile": torch_compile,
    "JAX, hand-written, jit": jax_jit,
}


def microseconds(contestant: Contestant, seconds: float) -> float:
    """Return the time of a step: that of many, waited for at their end."""
    step, pool, wait = contestant
    batches = itertools.cycle(pool)

    def run(count: int) -> float:
        wait()
        started = time.perf_counter()
        for _ in range(count):
            step(*next(batches))
        wait()
        return time.perf_counter() - started

    run(3)
    count = max(3, int(seconds / max(run(10) / 10, 1e-6)))
    run(1 + count // 2)  # until the clocks of an idle card are up
    return run(count) / count * 1e6


def main() -> None:
    """Time steps of the contestant that the command line names, as long as somebody asks."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    ready: tuple[str, Contestant | None] = ("", None)
    print("ready", flush=True)
    for line in sys.stdin:
        name, seconds = line.split()
        try:
            if ready[0] != name:
                ready = ("", None)  # one network at a time is in the device's memory
                ready = (name, CONTESTANTS[sys.argv[1]](name))
            assert ready[1] is not None
            print(microseconds(ready[1], float(seconds)), flush=True)
        except Exception as error:
            text = f"{type(error).__name__}: {error}".replace("\n", " ")
            print(f"{name} of {sys.argv[1]}: {text[:500]}", file=sys.stderr, flush=True)
            print("nan", flush=True)


if __name__ == "__main__":
    main()
