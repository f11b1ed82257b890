"""How often the two XOR programs of the README succeed, over many seeds."""

from __future__ import annotations

import os

import pytest

import npnn
from npnn import datasets as npnn_datasets

SEEDS = int(os.environ.get("NPNN_BENCH_SEEDS", "200"))


def sigmoid_program(seed: int) -> float:
    model = npnn.Sequential(seed=seed)
    model.layers = [
        npnn.Dense(2, 4),
        npnn.LeakyReLU(4),
        npnn.Dense(4, 4),
        npnn.LeakyReLU(4),
        npnn.Dense(4, 1),
        npnn.Sigmoid(1),
    ]
    loss_layer = npnn.loss_layer.BinaryCrossEntropyLoss(1)
    optimizer = npnn.optimizer.Adam(alpha=5e-3)
    dataset = npnn_datasets.XORBinClasses(seed=seed)
    return run(model, loss_layer, optimizer, dataset)


def softmax_program(seed: int) -> float:
    model = npnn.Sequential(seed=seed)
    model.layers = [
        npnn.Dense(2, 4),
        npnn.LeakyReLU(4),
        npnn.Dense(4, 4),
        npnn.LeakyReLU(4),
        npnn.Dense(4, 2),
        npnn.Softmax(2),
    ]
    loss_layer = npnn.loss_layer.CrossEntropyLoss(2)
    optimizer = npnn.optimizer.Adam(alpha=1e-2)
    dataset = npnn_datasets.XORTwoClasses(seed=seed)
    return run(model, loss_layer, optimizer, dataset)


def run(model, loss_layer, optimizer, dataset, episodes: int = 200) -> float:
    optimizer.norm = dataset.norm
    optimizer.model = model
    optimizer.model.chain = loss_layer
    for _ in range(episodes):
        optimizer.step(*dataset.get_train_batch())
    optimizer.predict(dataset.x_validation_data, dataset.y_validation_data)
    return loss_layer.get_accuracy()


@pytest.mark.parametrize(
    ("program", "least"), [(sigmoid_program, 0.78), (softmax_program, 0.95)], ids=lambda p: str(p)
)
def test_share_of_runs_that_end_with_accuracy_one(benchmark, capsys, program, least):
    accuracies = benchmark.pedantic(lambda: [program(s) for s in range(SEEDS)], rounds=1)
    share = sum(a == 1.0 for a in accuracies) / SEEDS
    with capsys.disabled():
        print(f"\n{program.__name__}: accuracy 1.0 in {share:.1%} of {SEEDS} runs")
    if SEEDS >= 100:
        assert share >= least
