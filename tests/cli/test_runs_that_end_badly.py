"""Models that never end, or end the process, on random inputs: the conversion goes on, and says what it left out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MAKE = """
import sys
import tensorflow as tf

def endless(a):
    n = tf.cast(a[0, 0] * 0, tf.int32) - 2**31 + 1
    return {"y": tf.while_loop(lambda n, x: n < 2**31 - 1, lambda n, x: (n + 1, x + 1), [n, a])[1]}

def rows(tokens):
    return {"y": tf.reduce_sum(tf.cast(tokens.to_tensor(), tf.float32), 1)}

for name, function, spec in (("endless", endless, tf.TensorSpec([None, 4], name="a")),
                             ("ragged", rows, tf.RaggedTensorSpec([None, None], tf.int32))):
    module = tf.Module()
    module.f = tf.function(function, input_signature=[spec])
    tf.saved_model.save(module, sys.argv[1] + "/" + name, signatures=module.f)
"""


@pytest.mark.tf
@pytest.mark.slow
def test_the_source_is_ended_and_the_model_converted_without_it(trtconv: Any, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", MAKE, str(tmp_path)], check=True, capture_output=True)
    for arguments, why in (
        (("convert", "ragged", "-o", "ragged.onnx"), "--check-data"),
        (("convert", "endless", "-o", "endless.onnx", "--check-seconds", "1"), "takes longer than"),
    ):
        done = trtconv(*arguments)
        assert done.returncode == 0, done.stderr
        assert "not compared with the source" in done.stderr
        assert why in done.stderr
        assert (tmp_path / arguments[3]).exists()
