"""``npnn profile``: where the time of a training step goes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from npnn import plots
from npnn.cli.arguments import whole
from npnn.cli.fitting import batch_size_of
from npnn.cli.outputs import check_writable
from npnn.cli.recipes import add_model_options, dataset_of, new_model, settings


def add_profile(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    profile = commands.add_parser(
        "profile",
        parents=[common],
        help="show where the time of a training step goes",
        description=(
            "Train on one batch for some steps, and show for each call of the recorded step its "
            "time, share and rate, as a table and as a picture."
        ),
        epilog="example:\n  npnn profile mnist --hidden 1024,1024 --batch-size 256 --backend numba",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_options(profile)
    profile.add_argument(
        "--steps", type=whole(1), default=100, metavar="N", help="to take the median over (100)"
    )
    profile.set_defaults(run=run_profile, epochs=None, no_capture=False)


def run_profile(options: argparse.Namespace) -> int:
    """Print the profile of a step and draw it; return the exit code."""
    from npnn.backends.planning import inspection
    from npnn.profiling import profile

    run = settings(options, None)
    data = dataset_of(run, options)
    run["batch_size"] = run["batch_size"] or batch_size_of(data.num_train_data)
    model = new_model(run, data, options)
    if not options.no_pictures:
        check_writable(Path(options.output))
    x, t, _ = data.get_train_batch(min(run["batch_size"], data.num_train_data))
    rows = profile(model, x, t, steps=options.steps)
    print(inspection.table(rows))
    print(f"\nmedian of {options.steps} steps on batches of {len(x)}, backend {run['backend']}")
    if not options.no_pictures:
        path = Path(options.output) / "profile.png"
        plots.profile(rows, path)
        print(f"picture  {path}")
    return 0
