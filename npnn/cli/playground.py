"""``npnn playground``: a page in the browser on which a network is seen to learn."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from typing import Any

from npnn.cli.arguments import backend_name, port, sentence, unknown_data, whole


def add_playground(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to the parser."""
    playground = commands.add_parser(
        "playground",
        parents=[common],
        help="watch a network learn, in the browser",
        description=(
            "Serve a page on which a network is seen to learn, and changed while it does. The "
            "model trains here, on the backend that is chosen; nothing comes from elsewhere."
        ),
        epilog=(
            "examples:\n"
            "  npnn playground\n"
            "  npnn playground spirals --backend numba\n"
            "  npnn playground flowers.csv\n"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = playground.add_argument
    add("data", nargs="?", default="xor", metavar="DATA", help="a problem, or a CSV file (xor)")
    add("--backend", type=backend_name, default="numpy", metavar="NAME",
        help="array library (numpy); see npnn info")  # fmt: skip
    add("--seed", type=whole(0), default=0, metavar="N", help="of data and weights (0)")
    add("--port", type=port, default=0, metavar="N", help="to listen on; any free one if 0 (0)")
    add("--host", default="127.0.0.1", metavar="ADDRESS",
        help="to listen on (%(default)s: this machine alone)")  # fmt: skip
    add("--no-browser", action="store_true", help="print the address, and open no browser")
    playground.set_defaults(run=run_playground)


def run_playground(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C; return the exit code."""
    from npnn.playground import Chosen, Server, Trainer
    from npnn.playground.chosen import PROBLEMS

    given: dict[str, Any] = {"backend": options.backend, "seed": options.seed}
    table = None
    if options.data in PROBLEMS and options.data != "table":
        given["problem"] = options.data
    elif os.path.exists(options.data):
        given["problem"], table = "table", os.path.abspath(options.data)
    else:
        names = [name for name in PROBLEMS if name != "table"]
        raise ValueError(unknown_data(options.data, "problem", names))
    sys.setswitchinterval(0.0005)  # the page is not to wait for the thread that trains
    trainer = Trainer(Chosen().changed(given), table)
    try:
        server = Server(trainer, options.host, options.port)
    except OSError as error:
        raise ValueError(
            "arguments --host and --port: cannot listen on "
            f"{options.host}:{options.port}: {sentence(error)}"
        ) from None
    trainer.start()
    print(f"playground  {server.address}", flush=True)
    if options.host not in ("127.0.0.1", "localhost", "::1"):
        print("Other machines reach it too; who knows the address can use it.", flush=True)
    print("Ctrl-C ends it", flush=True)
    if not options.no_browser:
        webbrowser.open(server.address)
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
        trainer.end()
    return 0
