"""Images that a GPU scales: bit by bit what the processor makes of them, through both doors to the GPU."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data import photographs
from tests.data.test_scaling import CHAINS, SIZES, picture
from tests.engines.models import conv_net
from trtconv.adapters import cuda, tensorrt
from trtconv.adapters.cuda import Device
from trtconv.core import versions
from trtconv.core.events import ignore
from trtconv.core.records import FeedSpec
from trtconv.data import preprocess, scaling
from trtconv.engines.run.device_preprocess import Landings, Target
from trtconv.stages import infer as stage
from trtconv.stages.build import BuildRequest, build
from trtconv.stages.infer import InferRequest, infer

pytestmark = pytest.mark.gpu
ROWS = (
    {"resize": {"size": [20, 20], "fit": "shorter"}},
    {"crop": {"size": [16, 16]}},
    {"normalize": {"scale": 1 / 255, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}},
    {"layout": {"to": "nchw"}},
)


@pytest.fixture(params=list(cuda.APIS))
def api(request: pytest.FixtureRequest) -> str:
    if not versions.of([cuda.APIS[request.param][1]]):
        pytest.skip(f"{cuda.APIS[request.param][1]} is not installed")
    return str(request.param)


@pytest.fixture
def device(api: str) -> Iterator[Device]:
    opened = cuda.open_device(api)
    yield opened
    opened.close()


@pytest.mark.parametrize("name", CHAINS)
def test_kernels_make_the_processors_samples(device: Device, name: str) -> None:
    chain = preprocess.prepare(CHAINS[name])
    recipe = scaling.recipe(chain)
    assert chain is not None
    assert recipe is not None
    pictures = [picture(*size, seed=number) for number, size in enumerate(SIZES)]
    expected = [np.ascontiguousarray(chain(each)) for each in pictures]
    size = sum(each.nbytes for each in expected)
    memory = np.frombuffer(mmap.mmap(-1, recipe.capacity), np.uint8)
    with contextlib.closing(Landings(device, scaling.ptx())) as landings:
        landing, target, found = landings(memory), Target(device), device.pinned(size)
        target.lay(len(pictures) + 1, size // len(pictures) * (len(pictures) + 1))
        for place in (1, 0):  # twice, the second time over the first but for its last sample
            landing.wait()
            parcel = scaling.Parcel(recipe, memory, len(pictures))
            for each in pictures:
                parcel.add(each)
            landing.land(parcel.contents(), target, place)
        target.stream.copy_out(found, target.address)
        target.stream.synchronize()
        samples = found.array.view(expected[0].dtype).reshape(len(pictures), *expected[0].shape)
        for sample, wanted, source in zip(samples, expected, pictures, strict=True):
            assert np.array_equal(sample, wanted), source.size
        for part in (landing, target, found):
            part.close()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not any(found.version for found in tensorrt.probe()):
        pytest.skip("no TensorRT is installed")
    model = conv_net(tmp_path_factory.mktemp("scaling") / "net.onnx")
    build(BuildRequest(model, model.with_suffix(".engine"), "fp32"), ignore)
    return model.with_suffix(".engine")


def test_infer_gives_what_the_processor_gives(
    engine: Path, api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photographs.write(tmp_path / "images", 250, (16, 200), 114)

    def run(name: str) -> tuple[Any, np.ndarray]:
        request = InferRequest(engine, FeedSpec(folder, preprocess=ROWS), tmp_path / name, batch=16, device_api=api)
        return infer(request, ignore), np.load(tmp_path / name)["y"]

    @contextlib.contextmanager
    def none(*_: Any) -> Iterator[None]:
        yield None

    on_gpu, found = run("gpu.npz")
    monkeypatch.setattr(stage, "_landings", none)
    on_cpu, expected = run("cpu.npz")
    assert (on_gpu.scaled_on, on_cpu.scaled_on) == ("GPU", "CPU")
    assert on_gpu.samples == on_cpu.samples == 249
    assert on_gpu.skipped == on_cpu.skipped
    assert "114.jpg: a damaged image" in on_gpu.skipped[0]
    assert np.array_equal(found, expected)
