"""Results of a run, held to having one entry per sample."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trtconv.core.errors import UsageError
from trtconv.data.compare import require_classes


def require(outputs: Mapping[str, np.ndarray], count: int) -> None:
    """Fail on outputs whose first axis does not count the samples.

    Raises:
        UsageError: naming the output and its shape.
    """
    for name, array in outputs.items():
        if array.shape[:1] != (count,):
            raise UsageError(
                f"output {name!r} has shape {list(array.shape)} for {count} samples: its first axis does "
                "not count them",
                hint="leave it out (convert: {outputs: [...]}), or have postprocess: [call: ...] make "
                "something of it per sample",
            )


def right(outputs: Mapping[str, np.ndarray], labels: np.ndarray) -> int:
    """How many samples have their label as the largest value of the first output.

    Raises:
        UsageError: that output holds no classes.
    """
    name, scores = next(iter(outputs.items()))
    if scores.ndim < 2 or len(scores) != len(labels):
        raise UsageError(
            f"labels were given, but output {name!r} of shape {list(scores.shape)} holds no classes",
            hint="leave data.labels out",
        )
    flat = scores.reshape(len(labels), -1)
    require_classes(labels, flat.shape[1])
    return int((flat.argmax(1) == labels).sum())
