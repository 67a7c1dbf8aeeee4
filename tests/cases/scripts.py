"""What the scripts of a folder of cases must print, as patterns that are searched for in their output."""

from __future__ import annotations

import re
from collections.abc import Mapping

WANTED: Mapping[str, tuple[str, ...]] = {
    "bench_nothing": (r"\Aexit [02]\nexit 2\n?\Z",),
    "cache_limit": (r"10G: exit [02]", r"10TB: exit [02]"),
    "call_types": (r"exit [02]\b",),
    "check_misses": tuple(rf"{job}: check 2" for job in ("row", "post", "gate", "batch")),
    "csv_encoding": (r"locale: exit 0", r"file name: exit 0"),
    "damaged_images": (r"truncated: exit 0", r"exif: exit 0"),
    "depfile_signs": (r"lr=0\.1: rule found \(0\) or not \(1\): 0",),
    "extends_labels": (r"base: exit 0", r"child: exit 0"),
    "fixed_batch": (r"infer: exit (\d)[\s\S]*^verify: exit \1[\s\S]*^calibrate: exit \1",),
    "github_paths": (r"::error file=a%2Cb/50%25\.yaml", r"::error.*wrong\.yaml", r"^wrong\.xml$"),
    "int_wraparound": (r"\A(?![\s\S]*-56)",),
    "interrupted_leftovers": (r"INT: exit 130", r"TERM: exit (130|143)", r"\A(?![\s\S]*^\.y)"),
    "json_infinity": (r"^exit 0$",),
    "letterbox_fill": (r"exit 2[\s\S]*exit 2[\s\S]*exit 2",),
    "lock_paths": tuple(rf"{job}: exit 0" for job in ("glob", "labels", "check", "classes")),
    "percentiles_gate": (r"gate: exit 0", r"baseline: exit 0"),
    "pipe_closed": (r"pipe: exit (0|141)", r"no stderr: exit 0"),
    "readonly_job": (r"^exit [02]$",),
    "rows_after_layout": (r"before: exit 0", r"after: exit [02]", r"normalize: exit [02]", r"four: exit 2"),
    "segmentation_axis": (r"\(2, 16, 12\) wanted \(2, 16, 12\)",),
    "stale_same_mtime": (r"^[01],-1",),
    "trtexec_dump_output": (r"Output Tensors", r"^exit 0$"),
    "png_twice": (r"\Asize 0\.00\d s\ndecode 0\.\d+ s",),
    "shorter_rounding": (r"largest difference [01] ", r"first column (\d+) torchvision \1$"),
    "verify_nan_reference": (r"all NaN: exit 6", r"all infinite: exit 6"),
}


def missing(script: str, printed: str) -> list[str]:
    """Patterns that are not there; a script without any of its own must print no exit code above 2 but 6 and 130."""
    wanted = WANTED.get(script, (r"\A(?![\s\S]*exit (1|3|4|5)\b)",))
    return [pattern for pattern in wanted if not re.search(pattern, printed, re.MULTILINE)]
