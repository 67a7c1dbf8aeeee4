"""Power and clocks from a pretended NVML: integration, the counter, and what readers must be told."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from trtconv.adapters import nvml
from trtconv.adapters.nvml import Reading
from trtconv.core.errors import EnvironmentProblem
from trtconv.engines.measure import power


def reading(watts: float | None = 100.0, energy: float | None = 0.0, sm: float | None = 1980, bits: int = 0) -> Reading:
    return Reading(watts, energy, sm, 3201, 40, bits)


def watch(*readings: tuple[float, Reading]) -> power.Watch:
    found = power.Watch("GPU-0")
    found._readings.extend(readings)
    return found


def test_energy_is_power_over_time_and_the_counters_difference() -> None:
    drawn = watch((0.0, reading(100, 5)), (1.0, reading(300, 204)), (3.0, reading(100, 610))).drawn()
    assert drawn is not None
    assert (drawn.seconds, drawn.joules) == (3.0, 605)
    assert drawn.joules_integrated == pytest.approx(200 + 400)
    assert drawn.watts == pytest.approx(200)
    assert drawn.notes() == []


def test_without_a_counter_or_without_power() -> None:
    drawn = watch((0.0, reading(energy=None)), (1.0, reading(energy=None))).drawn()
    assert drawn is not None
    assert drawn.joules is None
    assert watch((0.0, reading(None)), (1.0, reading(None))).drawn() is None
    assert watch((0.0, reading())).drawn() is None


def test_moving_clocks_and_throttling_are_told() -> None:
    drawn = watch((0.0, reading(sm=1980)), (1.0, reading(sm=1400, bits=0x4 | 0x40))).drawn()
    assert drawn is not None
    assert drawn.sm_mhz == (1400, 1980)
    assert drawn.notes() == [
        "the GPU lowered its clocks: power cap, heat, by hardware",
        "the SM clock moved between 1400 and 1980 MHz",
    ]


class NVMLError(Exception):
    pass


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A pynvml that knows one GPU, drawing 250 W."""

    def handle(uuid: str) -> str:
        if uuid != "GPU-0":
            raise NVMLError("Not Found")
        return "handle"

    def refuse(*_: object) -> None:
        raise NVMLError("Not Supported")

    field = SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=250_000))
    fake = SimpleNamespace(
        NVMLError=NVMLError,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByUUID=handle,
        nvmlDeviceGetFieldValues=lambda h, ids: [field],
        nvmlDeviceGetTotalEnergyConsumption=lambda h: 250 * time.perf_counter() * 1e3,
        nvmlDeviceGetClockInfo=lambda h, kind: {1: 1980, 2: 3201}[kind],
        nvmlDeviceGetTemperature=refuse,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda h: 0x1,
        nvmlDeviceGetPowerUsage=lambda h: 240_000,
        nvmlDeviceGetComputeRunningProcesses=lambda h: [],
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def test_a_gpu_is_read_in_the_background_from_the_begin_on(library: Any) -> None:
    with power.Watch("GPU-0") as found:
        time.sleep(0.1)
        assert found._readings == []
        found.begin()
        time.sleep(0.25)
    drawn = found.drawn()
    assert drawn is not None
    assert drawn.watts == pytest.approx(250)
    assert drawn.joules == pytest.approx(drawn.joules_integrated, rel=0.1)
    assert drawn.temperature is None
    assert drawn.throttles == ()


def test_older_drivers_tell_the_mean_power(library: Any) -> None:
    del library.nvmlDeviceGetFieldValues
    assert nvml.Gpu("GPU-0").read().power == 240


def test_a_gpu_that_nvml_does_not_know(library: Any) -> None:
    with pytest.raises(EnvironmentProblem, match="NVML tells nothing of this GPU: Not Found"):
        nvml.Gpu("GPU-1")
    with power.Watch("GPU-1") as found:
        found.begin()
    assert found.drawn() is None
    assert "Not Found" in found.problem


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with power.Watch("GPU-0") as found:
        pass
    assert "pynvml" in found.problem
