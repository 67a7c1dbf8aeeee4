#!/usr/bin/env python3
"""Write docs/trtexec.md from the table of trtexec's flags. A test says when it is out of date."""

from __future__ import annotations

from pathlib import Path

from trtconv.core.files import write_text
from trtconv.job.trtexec_flags import FLAGS

PAGE = Path(__file__).parents[1] / "docs/trtexec.md"
HEAD = """\
# trtexec's command lines

`trtconv trtexec` takes the command lines of NVIDIA's trtexec, of TensorRT 8.6, 10 and 11. Put `trtconv` in front of a
line that is in a script, and it runs; or let it write the job file that does the same, and go on from there:

```console
$ trtconv convert build/digits-data/saved_model -o model.onnx --input image:batch,8,8,1
$ trtconv trtexec --onnx=model.onnx --fp16 --minShapes=image:1x8x8x1 --optShapes=image:8x8x8x1 \\
    --maxShapes=image:32x8x8x1 --saveEngine=model.engine --skipInference
&&&& PASSED TensorRT.trtexec
$ trtconv trtexec --loadEngine=model.engine --shapes=image:4x8x8x1 --duration=0.2
Throughput: ... qps
Latency: min = ... ms, max = ... ms, mean = ... ms, median = ... ms, percentile(90%) = ... ms
$ trtconv trtexec --onnx=model.onnx --fp16 --shapes=image:8x8x8x1 --memPoolSize=workspace:512 --emit-job=job.yaml
$ trtconv check job.yaml
```

Every flag is honoured, or refused by name with the reason. None is ignored: a flag that changes nothing here is named
in a line of its own.

<!-- exit 2 -->
```console
$ trtconv trtexec --onnx=model.onnx --int8
--int8: needs --calib=FILE, or a model with Q/DQ pairs
$ trtconv trtexec --onnx=model.onnx --fp61
did you mean '--fp16'?
```

## What differs

- **Precision** is done by trtconv's own lowering to typed ONNX, with the same outcome on TensorRT 10, on TensorRT 11
  and on TensorRT-RTX. `--int8` gives the weighted layers INT8 and leaves the rest in FP32, or in FP16 with `--fp16`.
  There is no search for the fastest type per layer. Without a precision flag a plain FP32 model may use TF32, as in
  trtexec.
- **`--int8` needs `--calib`**, or a model with Q/DQ pairs. A cache written by TensorRT is read as it is.
- **Numbers** mean what trtexec 10 means by them, unless a flag that only trtexec 11 has is given, or `--semantics=`
  says otherwise; [bench.md](bench.md) has the rules.
- **Without a GPU** the typed ONNX model is measured on ONNX Runtime. A line marked `[W]` says so, and there are no
  lines for times that only a GPU has. For that, the typed model stays beside the engine as `FILE.onnx`.
- **Exit codes** are trtconv's: 2 for the command line, 3 for the model, 4 for the build, 5 for the environment.
- An emitted job writes its engine as `<name>.<precision>.engine` into the folder of `--saveEngine`.

## All flags
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_table(fate) for fate in ("honoured", "no effect", "refused"))


def _table(fate: str) -> str:
    rows = [
        f"| `--{name}{f'={flag.takes}' if flag.takes else ''}` | {flag.text}{_default(flag.default)} |\n"
        for name, flag in FLAGS.items()
        if flag.fate == fate
    ]
    return f"\n### {fate.capitalize()}\n\n| flag | |\n|---|---|\n" + "".join(rows)


def _default(value: str) -> str:
    return f" (`{value}`, the default, has no effect)" if value else ""


if __name__ == "__main__":
    write_text(PAGE, page())
