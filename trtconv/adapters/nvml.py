"""The door to NVML: power, clocks, temperature and memory of a GPU, as nvidia-smi shows them."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Any

from trtconv.core.errors import EnvironmentProblem, MissingPackage

THROTTLES = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "heat, by software",
    0x40: "heat, by hardware",
    0x80: "power brake",
}
"""Bits of nvmlClocksEventReasons (nvml.h) that lower the clocks, idling and clocks set by the user left aside."""

_POWER_INSTANT = 186  # NVML_FI_DEV_POWER_INSTANT; the ordinary power reading is a mean of the last second


@dataclass(frozen=True)
class Reading:
    """One look at a GPU; None where it does not tell.

    Attributes:
        power: watts at this moment.
        energy: joules since the driver was loaded.
        sm_clock: MHz.
        memory_clock: MHz.
        temperature: of the GPU, in degrees Celsius.
        throttles: bits of THROTTLES.
    """

    power: float | None
    energy: float | None
    sm_clock: float | None
    memory_clock: float | None
    temperature: float | None
    throttles: int


class Gpu:
    """One GPU in NVML.

    Args:
        uuid: as ``cuda_driver`` tells it: NVML counts GPUs in another order than CUDA.

    Raises:
        MissingPackage: nvidia-ml-py is not installed.
        EnvironmentProblem: NVML does not start, or does not know the GPU.
    """

    def __init__(self, uuid: str) -> None:
        try:
            import pynvml
        except ImportError:
            raise MissingPackage("pynvml", "cuda", "reading power and clocks") from None
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        except pynvml.NVMLError as error:
            raise EnvironmentProblem(
                f"NVML tells nothing of this GPU: {error}", hint="power and clocks need the driver's own NVML library"
            ) from None

    def read(self) -> Reading:
        """Everything now."""
        nvml, handle = self._nvml, self._handle
        energy = self._ask("nvmlDeviceGetTotalEnergyConsumption", handle)
        return Reading(
            power=self._power(),
            energy=None if energy is None else energy / 1e3,
            sm_clock=self._ask("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM),
            memory_clock=self._ask("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_MEM),
            temperature=self._ask("nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU),
            throttles=int(self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle) or 0),
        )

    def process_memory(self) -> int | None:
        """Bytes that this process uses on the GPU, context and libraries included; None where NVML cannot tell."""
        with contextlib.suppress(self._nvml.NVMLError):
            processes = self._nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
            return next((p.usedGpuMemory for p in processes if p.pid == os.getpid()), None)
        return None

    def close(self) -> None:
        """Leave NVML."""
        with contextlib.suppress(self._nvml.NVMLError):
            self._nvml.nvmlShutdown()

    def _power(self) -> float | None:
        with contextlib.suppress(self._nvml.NVMLError, AttributeError):
            (field,) = self._nvml.nvmlDeviceGetFieldValues(self._handle, [_POWER_INSTANT])
            if field.nvmlReturn == 0:
                return float(field.value.uiVal) / 1e3
        milliwatts = self._ask("nvmlDeviceGetPowerUsage", self._handle)
        return None if milliwatts is None else milliwatts / 1e3

    def _ask(self, function: str, *args: Any) -> float | None:
        with contextlib.suppress(self._nvml.NVMLError):
            return float(getattr(self._nvml, function)(*args))
        return None
