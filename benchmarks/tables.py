"""Trains each of 47 real tables with no other option than the target, and compares the scores.

``python benchmarks/tables.py`` looks for the tables in ``../shared/data/tables``. For each it runs
``npnn train FILE --target COLUMN`` with the seeds 0, 1 and 2, and has the last model answer for
every row of its own file. The score is the accuracy, or R², of the 30 % of the rows that were held
out; beside it stands that of scikit-learn's default MLP on the same splits and inputs, and those
that ``tables.csv`` gives for the same MLP and a linear model, on other splits and behind a pipeline
that somebody wrote for each table.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor
from tabulate import tabulate

import npnn
from npnn.cli import main as command
from npnn.datasets import Table, read_table

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "tables"
SEEDS = (0, 1, 2)


def score(path: Path, target: str | None, seed: int, folder: str) -> tuple[float, float, float]:
    """Return how good a model is for rows that were held out, and an MLP; and its seconds."""
    arguments = ["train", str(path), "--seed", str(seed), "--output", folder]
    arguments += ["--target", target] if target else []
    start = time.perf_counter()
    if command([*arguments, "--quiet", "--no-pictures"]) != 0:
        raise SystemExit(f"npnn {' '.join(arguments)} failed")
    seconds = time.perf_counter() - start
    model = npnn.load(f"{folder}/model.safetensors")
    data = Table(path, target, seed=seed)
    ours = _score_of(np.asarray(model.predict(data.x_validation_data)), data)
    return ours, _score_of(_answers_of_mlp(data, seed), data), seconds


def _score_of(y: np.ndarray, data: Table) -> float:
    t = data.y_validation_data
    if data.task == "regression":
        return 1.0 - float(((y - t) ** 2).sum() / ((t - t.mean(axis=0)) ** 2).sum())
    return float((y.argmax(axis=1) == t.argmax(axis=1)).mean())


def _answers_of_mlp(data: Table, seed: int) -> np.ndarray:
    """Return what scikit-learn's default MLP answers, of targets of unit scale in a regression."""
    x, x_new = (
        data.norm(np.asarray(part, np.float64))
        for part in (data.x_train_data, data.x_validation_data)
    )
    t = np.asarray(data.y_train_data, np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its 200 epochs are too few
        if data.task == "regression":
            mean, spread = t.mean(), t.std()
            mlp = MLPRegressor(random_state=seed).fit(x, (t[:, 0] - mean) / spread)
            return mlp.predict(x_new)[:, None] * spread + mean
        mlp = MLPClassifier(random_state=seed).fit(x, data.c_train_data)
    return np.eye(t.shape[1])[mlp.predict(x_new)]


def answers(path: Path, folder: str) -> str:
    """Return for how many rows of its own file a model answers, and of how many if not all."""
    rows = len(read_table(path).lines)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        if command(["predict", f"{folder}/model.safetensors", str(path)]) != 0:
            return f"0 of {rows}"
    count = sum(1 for _ in csv.reader(out.getvalue().splitlines()))
    return str(count) if count == rows else f"{count} of {rows}"


def known(text: str) -> float:
    """Return the mean of "mean +- deviation"; NaN where nothing was measured."""
    return float(text.split()[0]) if text else float("nan")


def measured(rows: list[dict[str, str]], seeds: tuple[int, ...]) -> list[list[object]]:
    """Return a row of the table for each file, and print it as soon as it is there."""
    found = []
    for row in rows:
        path, target = FOLDER / row["file"], row["target"] or None
        with tempfile.TemporaryDirectory() as folder:
            scores = [score(path, target, seed, folder) for seed in seeds]
            answered = answers(path, folder)
        values, peers, seconds = np.transpose(scores)
        line: list[object] = [
            row["file"].rpartition(".")[0],
            answered,
            float(np.mean(values)),
            float(np.std(values)),
            float(np.mean(peers)),
            known(row["mlp"]),
            known(row["linear"]),
            float(np.mean(seconds)),
        ]
        print(*line, flush=True)
        found.append(line)
    return found


def summary(found: list[list[object]]) -> str:
    """Return what the scores are, all together, beside each of the two of the MLP."""
    table = np.asarray([line[2:6] for line in found], float)
    lines = [f"{len(found)} tables"]
    for column, what in ((2, "on the same splits"), (3, "in tables.csv")):
        compared = np.isfinite(table[:, column])
        gain = table[compared, 0] - table[compared, column]
        names = [line[0] for line, is_there in zip(found, compared, strict=True) if is_there]
        worse = [str(name) for name, g in zip(names, gain, strict=True) if g < -0.02]
        lines.append(
            f"beside the MLP {what} ({compared.sum()} tables): median "
            f"{np.median(table[compared, 0]):.4f} (MLP {np.median(table[compared, column]):.4f}), "
            f"better by more than 0.01 on {int((gain > 0.01).sum())}, worse by more than 0.02 on "
            f"{len(worse)}: {', '.join(worse) or 'none'}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of the files' names (all)")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many seeds (3)")
    options = parser.parse_args()
    if not (FOLDER / "tables.csv").exists():
        print(f"skipped: the tables are not in {FOLDER}")
        return
    with (FOLDER / "tables.csv").open(newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if not options.names or any(name in row["file"] for name in options.names)
        ]
    found = measured(rows, SEEDS[: options.seeds])
    headers = ["table", "answered", "npnn", "+-", "MLP", "MLP there", "linear there", "seconds"]
    print(tabulate(found, headers, tablefmt="github", floatfmt=".3f"))
    print(summary(found))


if __name__ == "__main__":
    sys.exit(main())
