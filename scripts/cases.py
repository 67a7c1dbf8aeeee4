#!/usr/bin/env python3
"""Run every case that once went wrong and print a table: what it gives today, and what is right.

    python scripts/cases.py [--from FOLDER] [--only TEXT]

The files of a case are made by tests/cases; with --from by the scripts of that name in FOLDER/make (``NAME.py FOLDER``
writes them), and the scripts in FOLDER/jobs are run too.
Exit 1 when any case is wrong.
"""

from __future__ import annotations

import argparse
import itertools
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


def scripts(makers: Path | None, only: str) -> Iterator[tuple[str, str, str, str, bool]]:
    """The same for the scripts in a folder's jobs: shell, and Python that says what it stands for."""
    from tests.cases.scripts import missing

    jobs = makers / "jobs" if makers else ROOT / "nothing"
    found = [*jobs.glob("*.sh"), *(file for file in jobs.glob("*.py") if "# Expected: " in file.read_text())]
    for script in sorted(found):
        if only not in f"jobs {script.stem}":
            continue
        head = [line[12:] for line in script.read_text().splitlines()[:6] if line.startswith("# Expected: ")]
        with tempfile.TemporaryDirectory(prefix="case-") as name:
            printed = _printed(script, Path(name))
        yield "jobs", script.stem, printed, " ".join(head), not missing(script.stem, printed)


def _printed(script: Path, folder: Path) -> str:
    """What a script prints, with this trtconv and Python on the path."""
    programs = folder / ".programs"
    programs.mkdir()
    for name, what in (("trtconv", " -m trtconv"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable}{what} "$@"\n')
        (programs / name).chmod(0o755)
    variables = {"PATH": f"{programs}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(folder)}
    try:
        done = subprocess.run(
            ["bash" if script.suffix == ".sh" else sys.executable, str(script)],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=600,
            env={**variables, "TRTCONV_CACHE": "off"},
        )
    except subprocess.TimeoutExpired:
        return "not done after 600 s"
    return done.stdout.strip()


def main() -> int:
    """Print the table as it comes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--from", dest="makers", type=Path, help="folder with make/*.py and jobs/*.sh")
    parser.add_argument("--only", default="", help="cases whose kind or name holds this")
    options = parser.parse_args()
    makers = options.makers and options.makers.resolve()
    count = wrong = 0
    shown = ""
    for kind, name, today, right, good in itertools.chain(rows(makers, options.only), scripts(makers, options.only)):
        if kind != shown:
            print(f"\n{kind}\n{'-' * len(kind)}")
            shown = kind
        count += 1
        wrong += not good
        print(
            f"{'right' if good else 'WRONG'}  {name:<34}  {' '.join(today.split())[:70]:<70}  must: {right}", flush=True
        )
    print(f"\n{count - wrong} of {count} cases right")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
