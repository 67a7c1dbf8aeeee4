#!/usr/bin/env python3
"""Run every case that once went wrong and print a table: what it gives today, and what is right.

    python scripts/cases.py [--from FOLDER] [--only TEXT]

The files of a case are made by tests/cases; with --from by the scripts of that name in FOLDER/make (``NAME.py FOLDER``
writes them). Shell scripts in FOLDER/jobs are run too and what they print is shown beside what they say they expect.
Exit 1 when any case is wrong.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def make(files: str, folder: Path, makers: Path | None) -> str:
    """Write a case's files; why it could not be done, or nothing."""
    if makers is not None:
        command = [sys.executable, str(makers / "make" / f"{files}.py"), str(folder)]
    else:
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; "
        code += "from tests.cases import onnx_files as o; "
        code += f"m = getattr(o, {files!r}, None) or getattr(__import__('tests.cases.tensorflow_files', "
        code += f"fromlist=['x']), {files!r}); m(Path(sys.argv[1]))"
        command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def rows(makers: Path | None, only: str) -> Iterator[tuple[str, str, str, str, bool]]:
    """(kind, case, today, right, whether it is right) for each."""
    from tests.cases import frame
    from tests.cases.table import cases

    for case in cases():
        if only not in f"{case.kind} {case.name}":
            continue
        with tempfile.TemporaryDirectory(prefix="case-") as name:
            folder = Path(name)
            if problem := make(case.files, folder, makers):
                yield case.kind, case.name, f"files not made: {problem}", case.right, False
                continue
            try:
                right, today = case.judge(frame.run(case, folder))
            except Exception as error:  # noqa: BLE001 - a judge that stumbles over odd results says so in its row
                right, today = False, f"{type(error).__name__}: {error}"
        yield case.kind, case.name, today, case.right, right


def scripts(makers: Path | None, only: str) -> Iterator[tuple[str, str, str]]:
    """(script, what it expects, what it printed) for each shell script."""
    for script in sorted((makers / "jobs").glob("*.sh")) if makers else ():
        if only not in f"jobs {script.stem}":
            continue
        with tempfile.TemporaryDirectory(prefix="case-") as name:
            path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
            done = subprocess.run(
                ["bash", str(script)],
                cwd=name,
                capture_output=True,
                text=True,
                check=False,
                timeout=600,
                env={"PATH": path, "PYTHONPATH": str(ROOT), "TRTCONV_CACHE": "off", "HOME": name},
            )
        head = [line[2:] for line in script.read_text().splitlines()[:6] if line.startswith("# ")]
        yield script.stem, " ".join(head), done.stdout.strip()


def main() -> int:
    """Print the table as it comes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--from", dest="makers", type=Path, help="folder with make/*.py and jobs/*.sh")
    parser.add_argument("--only", default="", help="cases whose kind or name holds this")
    options = parser.parse_args()
    makers = options.makers and options.makers.resolve()
    count = wrong = 0
    shown = ""
    for kind, name, today, right, good in rows(makers, options.only):
        if kind != shown:
            print(f"\n{kind}\n{'-' * len(kind)}")
            shown = kind
        count += 1
        wrong += not good
        print(f"{'right' if good else 'WRONG'}  {name:<34}  {today[:70]:<70}  must: {right}", flush=True)
    for name, expected, printed in scripts(makers, options.only):
        print(f"\njobs/{name}: {expected}\n  " + "\n  ".join(printed.splitlines()[-12:]), flush=True)
    print(f"\n{count - wrong} of {count} cases right")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
