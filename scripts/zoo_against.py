#!/usr/bin/env python3
"""The precision zoo beside an earlier commit: what each lowers, how close to FP32, and how much stays FP32.

    python scripts/zoo_against.py COMMIT [NETWORK ...] [--folder FOLDER] [--precision WORD ...] [--method WORD ...]

Both commits calibrate and lower the same FP32 models through their command line, int8 with every method; both results
are computed strictly by the present code on the held-out samples, once where the two are the same. A row falls if its
signal-to-noise ratio is more than 0.3 dB lower, or if its share of multiplications in FP32 is more than 2 points
larger; then the reasons for what stays FP32 are printed. Exit 1 if one falls. ``--folder`` takes other networks:
NAME/model.onnx with calibration.npz and heldout.npz beside it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from trtconv.core.errors import TrtconvError  # noqa: E402
from trtconv.core.events import ignore  # noqa: E402
from trtconv.core.records import FeedSpec  # noqa: E402

FALL = 0.3
GROWTH = 2.0
PRECISIONS = ("fp16", "bf16", "int8", "fp8")
METHODS = ("minmax", "entropy", "percentile", "mse")


@dataclass(frozen=True)
class Result:
    """One commit's typed model.

    Attributes:
        snr: in dB, of the worst output, strictly; None where nothing runs it on the CPU.
        share: per cent of the multiplications that are FP32.
        told: what lowering said of nodes that it leaves out.
    """

    snr: float | None
    share: float
    told: str


def lowered(tree: Path, folder: Path, row: tuple[str, str], typed: Path, cache: Path) -> str:
    """Calibrate, once per method, and lower by a commit's own command line; what it says."""
    precision, method = row
    if not cache.exists():
        data = ("--data", folder / "calibration.npz", "--method", method)
        _call(tree, "calibrate", folder / "model.onnx", *data, "-o", cache)
    return _call(tree, "lower", folder / "model.onnx", "-o", typed, "--precision", precision, "--cache", cache)


def _call(tree: Path, *arguments: object) -> str:
    """A command of the trtconv in a folder: Python takes modules from where it stands first."""
    command = [sys.executable, "-m", "trtconv", *map(str, arguments)]
    place = {**os.environ, "PYTHONPATH": str(tree), "TRTCONV_CACHE": "off"}
    done = subprocess.run(command, cwd=tree, env=place, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TrtconvError(f"{' '.join(command[2:4])} of {tree} ends with {done.returncode}: {done.stderr[-400:]}")
    return done.stdout


def judged(folder: Path, typed: list[Path], told: list[str]) -> tuple[Result, Result]:
    """The figures of both typed models; one runs for both where they are the same."""
    from trtconv.engines.run import proof
    from trtconv.graph import types
    from trtconv.stages.verify import VerifyRequest, verify

    held = np.load(folder / "heldout.npz")
    feed = FeedSpec(folder / "heldout.npz", "labels" if "labels" in held.files else "")
    models = [onnx.load(one) for one in typed]
    same = models[0].graph == models[1].graph
    candidates = {str(one): one for one in (typed[:1] if same else typed)}
    found = verify(VerifyRequest(folder / "model.onnx", "FP32", candidates, feed, 16, corners=False), ignore)
    shapes = {name: (1, *held[name].shape[1:]) for name in held.files}

    def result(which: int) -> Result:
        verdict = found.verdicts[0 if same else which]
        snr = None if verdict.skipped else min(one.snr_db if one.finite else -np.inf for one in verdict.outputs)
        work = proof.by_model(proof.operators(models[which], types.infer(models[which]), shapes), "")
        return Result(snr, 100 * work.promised.get("float", 0.0), told[which])

    return result(0), result(1)


def rows(trees: tuple[Path, Path], folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, Result, Result]]:
    """(label, then, now) of one network."""
    wanted = [
        (precision, method)
        for precision in options.precision
        for method in (options.method if precision == "int8" else METHODS[:1])
    ]
    with tempfile.TemporaryDirectory() as place:
        for precision, method in wanted:
            typed, told = [Path(place) / f"{number}.onnx" for number in range(2)], []
            for number, tree in enumerate(trees):
                cache = Path(place) / f"{number}-{method}.cache"
                told.append(lowered(tree, folder, (precision, method), typed[number], cache))
            label = f"{precision} {method}" if precision == "int8" else precision
            yield label, *judged(folder, typed, told)


def line(network: str, label: str, then: Result, now: Result) -> tuple[bool, str]:
    """Whether a row holds, and the row."""
    cells = [f"{one.snr:.1f}" if one.snr is not None else "none" for one in (then, now)]
    fall = (then.snr or -np.inf) - (now.snr or -np.inf) if then.snr is not None else -np.inf
    holds = not fall > FALL and now.share - then.share <= GROWTH
    text = f"{network:15} {label:15} {cells[0]:>8} {cells[1]:>8} {then.share:>8.2f} {now.share:>8.2f}"
    return holds, text + ("" if holds else "  FALLS")


def main() -> None:
    """Print rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commit", help="a commit, or a folder that holds one's files")
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="default: all")
    parser.add_argument("--folder", type=Path, help="networks of one's own, instead of the zoo's")
    parser.add_argument("--precision", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--method", nargs="+", default=list(METHODS), choices=METHODS, help="of int8 (default: all)")
    options = parser.parse_intermixed_args()
    with tempfile.TemporaryDirectory() as place:
        tree = Path(options.commit).resolve()
        if not tree.is_dir():
            tree = Path(place)
            packed = subprocess.run(
                ["git", "-C", HERE, "archive", "--format=tar", options.commit, ":/"], capture_output=True, check=True
            )
            subprocess.run(["tar", "-x", "-C", tree], input=packed.stdout, check=True)
        sys.exit(not compare((tree, HERE.parent), options))


def compare(trees: tuple[Path, Path], options: argparse.Namespace) -> bool:
    """Whether all rows hold."""
    fallen = []
    print(f"{'network':15} {'':15} {'SNR then':>8} {'SNR now':>8} {'FP32 %':>8} {'now %':>8}")
    for network, folder in folders(options):
        for label, then, now in rows(trees, folder, options):
            holds, text = line(network, label, then, now)
            print(text, flush=True)
            if not holds:
                fallen.append(f"{network} {label}")
                print(now.told)
    print(f"falls: {', '.join(fallen)}" if fallen else "nothing falls")
    return not fallen


def folders(options: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Networks and where they are; those of the zoo are made if they are not there yet."""
    if options.folder:
        options.folder = options.folder.resolve()
        names = options.networks or sorted(one.parent.name for one in options.folder.glob("*/model.onnx"))
        yield from ((name, options.folder / name) for name in names)
        return
    import precision_zoo

    for name in options.networks or precision_zoo.ZOO:
        precision_zoo.prepare(name, precision_zoo.FOLDER / name)
        yield name, precision_zoo.FOLDER / name


if __name__ == "__main__":
    main()
