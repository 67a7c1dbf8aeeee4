"""Images decoded by processes and scaled on a pretended GPU: the samples that the processor makes, bit by bit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data import photographs
from tests.engines.fake_kernels import KernelDevice
from tests.engines.test_recorded_apis import built
from trtconv.adapters import cuda
from trtconv.core.errors import UsageError
from trtconv.core.events import Event, Message
from trtconv.core.records import FeedSpec
from trtconv.data import decoding, images, preprocess
from trtconv.stages import infer as stage
from trtconv.stages.infer import InferRequest, InferResult, infer

ROWS = (
    {"resize": {"size": [20, 20], "fit": "shorter"}},
    {"crop": {"size": [16, 18]}},
    {"normalize": {"scale": 1 / 255, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}},
    {"layout": {"to": "nchw"}},
)
SAMPLE = (3, 16, 18)
DAMAGED = 9


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of many sizes and kinds, one of them damaged."""
    return photographs.write(tmp_path / "images", 30, (12, 90), DAMAGED)


@pytest.fixture
def engine(install: Any, doubling: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that doubles samples, on the GPU that ``on`` puts in."""
    fake, _ = install("tensorrt-11.4.0")
    path = built(fake, doubling)
    make = fake._engine

    def of_pictures() -> Any:
        made = make()
        made._behaviour["get_tensor_shape"] = lambda name: (-1, *SAMPLE)
        made._behaviour["get_tensor_profile_shape"] = lambda name, index: [
            (n, *SAMPLE) for n in ((1, 8, 32), (33, 64, 128))[index]
        ]
        return made

    monkeypatch.setattr(fake, "_engine", of_pictures)
    monkeypatch.setattr(stage, "_MANY", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    return path


def on(device: KernelDevice, monkeypatch: pytest.MonkeyPatch) -> KernelDevice:
    monkeypatch.setattr(cuda, "open_device", lambda api="auto", index=0: device)
    return device


def run(engine: Path, folder: Path, said: list[Event], **options: Any) -> tuple[InferResult, np.ndarray]:
    rows = options.pop("rows", ROWS)
    output = folder.parent / "out.npz"
    request = InferRequest(engine, FeedSpec(folder, preprocess=rows), output, **{"batch": 7, **options})
    return infer(request, said.append), np.load(output)["y"]


def expected(folder: Path) -> np.ndarray:
    chain = preprocess.prepare(ROWS)
    assert chain is not None
    files = [path for path in sorted(folder.iterdir()) if path.stem != f"{DAMAGED:03}"]
    return np.stack([2 * chain(images.picture(path)) for path in files])


def warnings(said: list[Event]) -> list[str]:
    return [event.text for event in said if isinstance(event, Message) and event.level == "warning"]


@pytest.mark.parametrize("capacity", [8 << 20, 32 << 10])
def test_the_gpu_makes_the_processors_samples(
    engine: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capacity: int
) -> None:
    """Also where only some of the images fit into the memory at once, and others do not at all."""
    monkeypatch.setattr(decoding.scaling, "_CAPACITY", capacity)
    device, said = on(KernelDevice(), monkeypatch), []  # type: ignore[var-annotated]
    result, found = run(engine, folder, said)
    assert np.array_equal(found, expected(folder))
    assert (result.scaled_on, result.decoders, result.samples) == ("GPU", 2, 29)
    assert device.landed >= (5 if capacity > 1 << 20 else 12)
    assert device.live == 0
    assert device.closed
    (why,) = result.skipped
    assert f"{DAMAGED:03}.jpg: a damaged image" in why


@pytest.mark.parametrize(("processors", "decoders"), [(1, 1), (2, 1), (4, 3), (16, 5)])
def test_a_process_for_seven_of_eight_processors_and_none_without_a_batch(
    engine: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, processors: int, decoders: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    on(KernelDevice(), monkeypatch)
    assert run(engine, folder, [])[0].decoders == decoders  # five batches of 7


@pytest.mark.parametrize("lacks", ["register", "module"])
def test_a_gpu_that_cannot_leaves_it_to_the_processor_and_says_so(
    engine: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    device, said = on(KernelDevice(lacks), monkeypatch), []  # type: ignore[var-annotated]
    result, found = run(engine, folder, said)
    assert np.array_equal(found, expected(folder))
    assert result.scaled_on == "CPU"
    assert any("images are scaled by the processor, not by the GPU: " in text for text in warnings(said))
    assert device.landed == device.live == 0


def test_a_gpu_without_memory_for_parcels_leaves_it_to_the_processor_and_keeps_nothing(
    engine: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, said = on(KernelDevice(), monkeypatch), []  # type: ignore[var-annotated]
    take = device.memory
    monkeypatch.setattr(device, "memory", lambda size: cuda_full(size) if size >= 16 << 20 else take(size))
    result, found = run(engine, folder, said)
    assert np.array_equal(found, expected(folder))
    assert result.scaled_on == "CPU"
    assert any("images are scaled by the processor, not by the GPU: " in text for text in warnings(said))
    assert device.landed == device.live == 0


def cuda_full(size: int) -> Any:
    raise cuda.out_of_memory(size, 0)


def test_other_preprocessing_and_little_memory_leave_it_to_the_processor(
    engine: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, said = on(KernelDevice(), monkeypatch), []  # type: ignore[var-annotated]
    rows = ({"resize": {"size": [40, 40]}}, *ROWS)
    assert run(engine, folder, said, rows=rows)[0].scaled_on == "CPU"
    on(KernelDevice(free=64 << 20), monkeypatch)
    result, found = run(engine, folder, said)
    assert result.scaled_on == "CPU"
    assert np.array_equal(found, expected(folder))
    assert device.landed == 0


def test_strict_stops_at_a_bad_image_and_frees_everything(
    engine: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = on(KernelDevice(), monkeypatch)
    with pytest.raises(UsageError, match=rf"{DAMAGED:03}\.jpg: a damaged image"):
        run(engine, folder, [], strict=True)
    assert device.live == 0


def test_an_image_too_small_for_the_crop_is_left_out_by_name(
    engine: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(KernelDevice(), monkeypatch)
    rows = ({"resize": {"size": [16, 16], "fit": "shorter"}}, *ROWS[1:])
    result, _ = run(engine, folder, [], rows=rows)
    assert result.scaled_on == "GPU"
    assert len(result.skipped) > 2
    assert all("preprocess: crop to 16 x 18 of a sample of" in why or "damaged" in why for why in result.skipped)
    assert all(Path(why.split(":")[0]).exists() for why in result.skipped)
