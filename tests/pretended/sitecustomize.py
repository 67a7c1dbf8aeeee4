"""For the whole command line on a machine without a GPU: every Python process whose path begins with this folder finds
a TensorRT-RTX and a GPU of tests.engines.fake_tensorrt. TRTCONV_TEST_LAYERS names what the inspector tells,
TRTCONV_TEST_API the recorded interface, such as tensorrt-11.4.0.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


def pretend() -> None:
    from tests.engines.fake_tensorrt import H200, Fake, FakeDevice
    from trtconv.adapters import cuda, cuda_driver, tensorrt

    record = os.environ.get("TRTCONV_TEST_API", "tensorrt_rtx-1.5.0")
    flavor = "rtx" if record.startswith("tensorrt_rtx") else "tensorrt"
    fake: Any = Fake(record)
    if told := os.environ.get("TRTCONV_TEST_LAYERS"):
        fake.layers = Path(told).read_text()
    sys.modules[fake.module] = fake
    tensorrt._installed = lambda name: fake.version if name == flavor else ""
    cuda_driver._machine = lambda: cuda_driver._Machine(13000, (H200,), "")
    cuda.open_device = lambda api="auto", index=0: FakeDevice()  # type: ignore[assignment, return-value]


pretend()
