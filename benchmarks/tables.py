"""Trains each of 47 real tables with no other option than the target, and compares the scores.

``python benchmarks/tables.py`` looks for the tables in ``../shared/data/tables``. For each it runs
``npnn train FILE --target COLUMN`` with the seeds 0, 1 and 2, and has the last model answer for
every row of its own file. The score is the accuracy, or R², of the 30 % of the rows that were held
out; beside it stand those that ``tables.csv`` gives for scikit-learn's default MLP and a linear
model, behind a pipeline that somebody wrote for each table.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

import npnn
from npnn.cli import main as command
from npnn.datasets import Table

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "tables"
SEEDS = (0, 1, 2)


def score(path: Path, target: str | None, seed: int, folder: str) -> tuple[float, float]:
    """Return how good a model is for rows that were held out, and the seconds it took."""
    arguments = ["train", str(path), "--seed", str(seed), "--output", folder]
    arguments += ["--target", target] if target else []
    start = time.perf_counter()
    if command([*arguments, "--quiet", "--no-pictures"]) != 0:
        raise SystemExit(f"npnn {' '.join(arguments)} failed")
    seconds = time.perf_counter() - start
    model = npnn.load(f"{folder}/model.safetensors")
    data = Table(path, target, seed=seed)
    y, t = np.asarray(model.predict(data.x_validation_data)), data.y_validation_data
    if data.task == "regression":
        return 1.0 - float(((y - t) ** 2).sum() / ((t - t.mean(axis=0)) ** 2).sum()), seconds
    return float((y.argmax(axis=1) == t.argmax(axis=1)).mean()), seconds


def answers(path: Path, folder: str) -> int:
    """Return for how many rows of its own file a model answers."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        if command(["predict", f"{folder}/model.safetensors", str(path)]) != 0:
            return 0
    return sum(1 for _ in csv.reader(out.getvalue().splitlines()))


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
        values = [value for value, _ in scores]
        line: list[object] = [
            row["file"].rpartition(".")[0],
            answered,
            float(np.mean(values)),
            float(np.std(values)),
            known(row["mlp"]),
            known(row["linear"]),
            float(np.mean([seconds for _, seconds in scores])),
        ]
        print(*line, flush=True)
        found.append(line)
    return found


def summary(found: list[list[object]]) -> str:
    """Return what the scores are, all together."""
    table = np.asarray([line[2:5] for line in found], float)
    compared = np.isfinite(table[:, 2])
    gain = table[compared, 0] - table[compared, 2]
    names = [line[0] for line, is_there in zip(found, compared, strict=True) if is_there]
    worse = [str(name) for name, g in zip(names, gain, strict=True) if g < -0.02]
    return (
        f"{len(found)} tables; of the {compared.sum()} with a score of the MLP: median "
        f"{np.median(table[compared, 0]):.4f} (MLP {np.median(table[compared, 2]):.4f}), better by "
        f"more than 0.01 on {int((gain > 0.01).sum())}, worse by more than 0.02 on {len(worse)}: "
        f"{', '.join(worse) or 'none'}"
    )


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
    headers = ["table", "rows answered", "npnn", "+-", "MLP", "linear", "seconds"]
    print(tabulate(found, headers, tablefmt="github", floatfmt=".3f"))
    print(summary(found))


if __name__ == "__main__":
    sys.exit(main())
