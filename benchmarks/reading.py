"""Times and weighs the reading of a large text as a table, beside pandas.

``python benchmarks/reading.py [FILE]`` has each contestant read the file, of which the last column
is the target, in a process of its own, in turn round after round: pandas as it reads it
(``read_csv``), and with what makes numbers of it (dates as seconds, 0/1 columns of categories,
float32); `npnn.datasets.Table`, which also finds out what the columns are and splits the rows, with
and without pyarrow. Without a file, one of 337,000 rows is written: numbers, text
of few values, a time on each line, two of a hundred cells missing.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tabulate import tabulate


def pandas_reads(path: str) -> Callable[[], object]:
    import pandas as pd

    return lambda: pd.read_csv(path)


def pandas_ready(path: str) -> Callable[[], object]:
    import pandas as pd

    def ready() -> object:
        frame = pd.read_csv(path)
        target = pd.get_dummies(frame.pop(frame.columns[-1])).to_numpy("float32")
        for name in frame.columns:
            is_text = not pd.api.types.is_numeric_dtype(frame[name])
            if is_text and frame[name].head(50).nunique() > 40:  # a date
                frame[name] = pd.to_datetime(frame[name]).astype("int64") / 1e9
        inputs = pd.get_dummies(frame)
        return inputs.fillna(inputs.median()).to_numpy("float32"), target

    return ready


def table(path: str) -> Callable[[], object]:
    import pyarrow.csv  # noqa: F401

    from npnn.datasets import Table

    return lambda: Table(path)


def table_without_pyarrow(path: str) -> Callable[[], object]:
    from npnn.datasets import Table

    sys.modules["pyarrow"] = None  # type: ignore[assignment]
    return lambda: Table(path)


CONTESTANTS: dict[str, Callable[[str], Callable[[], object]]] = {
    "pandas.read_csv": pandas_reads,
    "pandas, made numbers": pandas_ready,
    "npnn.datasets.Table": table,
    "the same without pyarrow": table_without_pyarrow,
}


def written(path: Path, count: int = 337_000) -> None:
    """Write a table."""
    rng = np.random.default_rng(0)
    columns = [rng.normal(size=count).round(4).astype(str) for _ in range(6)]
    columns += [rng.choice(list("ABCDEFGH"), count), rng.choice(["EWR", "JFK", "LGA"], count)]
    columns += [rng.integers(80, 5000, count).astype(str)]
    times = np.datetime64("2013-01-01T00:00:00") + np.arange(count) * np.timedelta64(120, "s")
    columns += [np.char.replace(times.astype(str), "T", " ")]
    for column in columns:
        column[rng.random(count) < 0.02] = ""
    columns.append(rng.choice(["yes", "no"], count))
    with path.open("w") as file:
        file.write("a,b,c,d,e,f,carrier,origin,distance,when,y\n")
        file.writelines(",".join(row) + "\n" for row in zip(*columns, strict=True))


def measured(name: str, path: str) -> dict[str, float]:
    """Return what it took in this process, which has imported what it needs before."""
    act = CONTESTANTS[name](path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, used = time.perf_counter(), time.process_time()
    held = act()
    seconds, used = time.perf_counter() - start, time.process_time() - used
    del held
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": seconds, "of processors": used, "MB": more / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", help="a text (one that is written for it)")
    parser.add_argument("--rounds", type=int, default=5, help="(5)")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only == "written":
        written(Path(options.file))
        return
    if options.only:
        print(json.dumps(measured(options.only, options.file)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = options.file or f"{folder}/rows.csv"
        if not options.file:
            # By another process: those that are measured begin with the peak of this one.
            subprocess.check_call([sys.executable, __file__, path, "--only", "written"])
        found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTESTANTS}
        for _ in range(options.rounds):
            for name, each in found.items():
                command = [sys.executable, __file__, path, "--only", name]
                each.append(json.loads(subprocess.check_output(command)))
    best = {name: {key: min(e[key] for e in each) for key in each[0]}
            for name, each in found.items()}  # fmt: skip
    base = best["pandas, made numbers"]
    rows = [
        [name, *values.values(), *(values[key] / base[key] for key in base)]
        for name, values in best.items()
    ]
    headers = ["", *base, *(f"{key}, as times" for key in base)]
    print(tabulate(rows, headers, tablefmt="github", floatfmt=".2f"))


if __name__ == "__main__":
    sys.exit(main())
