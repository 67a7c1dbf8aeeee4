#!/usr/bin/env python3
"""Time the command line itself: ``trtconv --help`` beside the bare cost of click and PyYAML, and a run with no work.

The two start-up times are measured in turns, so that a machine that slows down slows both. The run is of
configs/digits.yaml: once to bring it up to date, then measured.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from trtconv.report.tables import table

ROOT = Path(__file__).parents[1]
HELP = ["-m", "trtconv", "--help"]
BARE = ["-c", "import click, yaml"]


def main() -> None:
    """Measure and print one table."""
    options = _options()
    started = [(seconds(BARE), seconds(HELP)) for _ in range(options.starts)]
    bare, shown = (median(column) for column in zip(*started, strict=True))
    job = ["-m", "trtconv", "run", str(options.job), "--quiet"]
    first = seconds(job)
    again = [seconds(job) for _ in range(options.runs)]
    rows = [
        ["python -c 'import click, yaml'", f"{1e3 * bare:.0f} ms", str(len(started)), ""],
        ["trtconv --help", f"{1e3 * shown:.0f} ms", str(len(started)), f"{shown / bare:.2f} times the line above"],
        [f"trtconv run {options.job.name}", f"{1e3 * median(again):.0f} ms", str(len(again)),
         f"up to date; the run before took {first:.1f} s"],
    ]  # fmt: skip
    print(table(["command", "median", "runs", ""], rows, "lrr"))


def seconds(arguments: list[str]) -> float:
    """Wall time of ``python ARGUMENTS``; a failure ends the benchmark with what it printed."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    taken = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"python {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return taken


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--job", type=Path, default=ROOT / "configs/digits.yaml", help="job to run (%(default)s)")
    parser.add_argument("--starts", type=int, default=10, help="starts of each program (%(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="runs without work (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
