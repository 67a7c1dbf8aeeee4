#!/usr/bin/env python3
"""The classic tables: four networks at batch 1, 5 and 10, engines beside PyTorch on one GPU, by configs/classic.yaml.

    python scripts/classic.py [--torch PYTHON] [--tf32] [--networks NAME,...] [--output FOLDER]

Everything is made and verified for all networks together; then everything is measured, one thing at a time. FP32 means
FP32: NVIDIA_TF32_OVERRIDE=0 holds for engines and PyTorch alike, because TensorRT-RTX 1.5 computes FP32 in TF32 on some
GPUs unless told not to; --tf32 adds engines and PyTorch with TF32. INT8 is tried, and a row says why it is not there.
Leaves NAME.html and NAME.md (reports of trtconv), NAME.json (runs) and tables.md in the folder. The exit status is that
of the worst run, INT8 that this TensorRT cannot build left aside.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
JOB = ROOT / "configs" / "classic.yaml"
SIZES = {"resnet50": 224, "resnet101": 224, "mobilenet": 224, "inception_v3": 299}
TITLES = {"resnet50": "ResNet50", "resnet101": "ResNet101", "mobilenet": "MobileNet", "inception_v3": "Inception v3"}
NOT_BUILT = 4
SECTION = re.compile(r"^## Against the source's framework\n\n(.*?)(?=^## )", re.MULTILINE | re.DOTALL)


class Network:
    """One network on its way to its table."""

    def __init__(self, name: str, options: argparse.Namespace, jobs: int) -> None:
        self.name, self.options, self.jobs = name, options, jobs
        self.said: dict[str, Any] = {}
        self.codes: dict[str, int] = {}

    @property
    def passes(self) -> dict[str, tuple[str, dict[str, str]]]:
        """Name -> precisions and variables of a run of the job."""
        exact = {"NVIDIA_TF32_OVERRIDE": "0"}
        found = {"exact": ("[fp32,fp16]", exact), "int8": ("[int8]", exact)}
        return found | ({"tf32": ("[tf32]", {})} if self.options.tf32 else {})

    def trtconv(self, command: str, precisions: str, variables: dict[str, str], *more: str) -> Any:
        """A command on the job."""
        settings = [f"matrix.precision={precisions}", f"output={self.options.output}", *self.options.set]
        settings += [f"source.python={self.options.torch}"] if self.options.torch else []
        given = [part for setting in settings for part in ("--set", setting)]
        words = [sys.executable, "-m", "trtconv", command, str(JOB), "--allow-code", *given, *more]
        env = {**os.environ, "NETWORK": self.name, "SIZE": str(SIZES[self.name]), **variables}
        env.setdefault("OMP_NUM_THREADS", str(self.jobs))  # four networks are converted and checked together
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH", "")]))
        return subprocess.run(words, env=env, stdout=subprocess.PIPE, text=True, check=False)

    def run(self, *settings: str) -> None:
        """The job in every pass; what it says and how it ends is kept."""
        more = [part for setting in settings for part in ("--set", setting)]
        for name, (precisions, variables) in self.passes.items():
            done = self.trtconv("run", precisions, variables, "--json", "--jobs", str(self.jobs), *more)
            self.codes[name] = done.returncode
            try:
                self.said[name] = json.loads(done.stdout)
            except ValueError:
                self.said[name] = {"errors": {"job": {"error": done.stdout or "ended without a result"}}}

    def report(self) -> str:
        """The report in both forms, and of it the tables."""
        folder = Path(self.options.output)
        (folder / f"{self.name}.json").write_text(json.dumps(self.said, indent=2))
        precisions = "[" + ",".join(p.strip("[]") for p, _ in self.passes.values()) + "]"
        for form in ("html", "md"):
            self.trtconv("report", precisions, {}, "-o", str(folder / f"{self.name}.{form}"))
        written = folder / f"{self.name}.md"
        found = SECTION.search(written.read_text()) if written.exists() else None
        lines = [f"## {TITLES[self.name]}\n", found[1] if found else "Nothing was measured.\n"]
        return "\n".join([*lines, *(f"- {line}" for line in self.failures())])

    def failures(self) -> list[str]:
        """What did not come to be, and why."""
        return [
            f"{step}: {error.get('message', error.get('error', ''))}".replace("\n", " ")
            for said in self.said.values()
            for step, error in said.get("errors", {}).items()
        ]

    def status(self) -> int:
        """The worst ending that counts."""
        return max(code for name, code in self.codes.items() if (name, code) != ("int8", NOT_BUILT))


def main() -> None:
    """Data, engines, measurements, tables."""
    options = _options()
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    names = options.networks.split(",")
    jobs = max(1, len(os.sched_getaffinity(0)) // len(names))
    networks = [Network(name, options, jobs) for name in names]
    python = options.torch or sys.executable
    with ThreadPoolExecutor(len(names)) as together:
        list(together.map(lambda name: _data(python, name), names))
        list(together.map(lambda one: one.run("bench=null"), networks))
        list(together.map(lambda one: one.run(), networks))
    text = "\n\n".join(["# Milliseconds per batch", *(one.report() for one in networks)])
    (folder / "tables.md").write_text(f"{text}\n")
    print(text)
    sys.exit(max(0, *(one.status() for one in networks)))


def _data(python: str, name: str) -> None:
    """Weights and images, unless they are there."""
    if not (ROOT / "build" / "classic-data" / f"{name}.calibration.npz").exists():
        subprocess.run([python, JOB.with_name("classic_networks.py"), name], check=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--torch", help="interpreter that has PyTorch (default: this one)")
    parser.add_argument("--tf32", action="store_true", help="engines and PyTorch with TF32 too")
    parser.add_argument("--networks", default=",".join(SIZES), help="names with commas")
    parser.add_argument("--output", default=str(ROOT / "build" / "classic"), help="folder of everything made")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for trtconv run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
