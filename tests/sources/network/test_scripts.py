"""Scripts of several generations through the front door, and what is wrong with others."""

from __future__ import annotations

import json
import shutil
import struct
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml

from tests.conftest import ROOT, Cli
from tests.sources.network import formulas as f
from trtconv.core.errors import ConversionError, EnvironmentProblem, SourceError, TrtconvError, UsageError
from trtconv.core.events import ignore
from trtconv.core.records import SourceSpec
from trtconv.sources.network import weights, worker
from trtconv.sources.network.asks import as_job, asks
from trtconv.sources.network.describe import describe
from trtconv.sources.records import Asks
from trtconv.stages.convert import ConvertRequest, convert

LENET = """
import numpy as np
import pycuda.autoinit
import pycuda.driver as cuda
import tensorrt as trt

LOGGER = trt.Logger(trt.Logger.INFO)


class ModelData:
    INPUT_NAME = "data"
    INPUT_SHAPE = (1, 28, 28)
    DTYPE = trt.float32


def weights_of(seed):
    random = np.random.default_rng(seed)
    shapes = {"conv1": (20, 1, 5, 5), "conv2": (50, 20, 5, 5), "fc1": (500, 800), "fc2": (10, 500)}
    return {name: random.standard_normal(shape).astype(np.float32) * 0.05 for name, shape in shapes.items()}


def populate(network, weights):
    data = network.add_input(name=ModelData.INPUT_NAME, dtype=ModelData.DTYPE, shape=ModelData.INPUT_SHAPE)
    conv1 = network.add_convolution(input=data, num_output_maps=20, kernel_shape=(5, 5), kernel=weights["conv1"])
    conv1.stride = (1, 1)
    pool1 = network.add_pooling(input=conv1.get_output(0), type=trt.PoolingType.MAX, window_size=(2, 2))
    pool1.stride = (2, 2)
    assert tuple(pool1.get_output(0).shape) == (20, 12, 12)
    conv2 = network.add_convolution(pool1.get_output(0), 50, (5, 5), weights["conv2"], trt.Weights())
    pool2 = network.add_pooling(conv2.get_output(0), trt.PoolingType.MAX, (2, 2))
    pool2.stride = (2, 2)
    fc1 = network.add_fully_connected(input=pool2.get_output(0), num_outputs=500, kernel=weights["fc1"])
    relu = network.add_activation(input=fc1.get_output(0), type=trt.ActivationType.RELU)
    fc2 = network.add_fully_connected(relu.get_output(0), 10, weights["fc2"], None)
    fc2.get_output(0).name = "prob"
    network.mark_output(tensor=fc2.get_output(0))


def main():
    with trt.Builder(LOGGER) as builder, builder.create_network() as network:
        builder.max_batch_size = 8
        builder.max_workspace_size = 1 << 28
        builder.fp16_mode = True
        populate(network, weights_of(3))
        try:
            engine = builder.build_cuda_engine(network)
        except Exception:
            print("swallowed")
        print("built")
        cuda.mem_alloc(4)


if __name__ == "__main__":
    main()
"""


def lenet(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    x = f.pool(f.convolution(x, w["conv1"]), (2, 2), (2, 2), "max")
    x = f.pool(f.convolution(x, w["conv2"]), (2, 2), (2, 2), "max").reshape(len(x), -1)
    return np.maximum(x @ w["fc1"].T, 0) @ w["fc2"].T


def lenet_weights(seed: int) -> dict[str, np.ndarray]:
    scope: dict[str, Any] = {}
    exec(LENET[LENET.index("def weights_of") : LENET.index("def populate")], {"np": np}, scope)
    made: dict[str, np.ndarray] = scope["weights_of"](seed)
    return made


def script(folder: Path, text: str, name: str = "net.py") -> Path:
    (folder / name).write_text(text)
    return folder / name


def record(folder: Path, text: str, **options: Any) -> worker.Recording:
    return worker.record(worker.Request(script(folder, text), folder / "net.onnx", **options))


def run(model: Path, **feeds: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    results: list[np.ndarray] = session.run(None, feeds)
    return results


def close(got: np.ndarray, want: np.ndarray) -> bool:
    return got.shape == want.shape and bool(np.abs(got - want).max() <= 1e-5 * np.abs(want).max())


HEAD = """
import numpy as np
import tensorrt as trt
builder = trt.Builder(trt.Logger())
network = builder.create_network({})
x = network.add_input("x", trt.float32, {})
"""
FLAG = "1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)"
IMAGE = HEAD.format(FLAG, (2, 3, 8, 8))
BUILD = "\nbuilder.build_engine(network, builder.create_builder_config())\n"


def of(body: str) -> str:
    return IMAGE + body + BUILD


def test_an_old_sample_unmodified(trtconv: Cli, tmp_path: Path) -> None:
    """Implicit batch, keyword arguments, biases left out in three ways, CUDA imported, the engine built in a try."""
    script(tmp_path, LENET)
    x = np.random.default_rng(0).standard_normal((5, 1, 28, 28)).astype(np.float32)
    want = lenet(x, lenet_weights(3))[..., None, None]
    np.savez(tmp_path / "known.npz", **{"in.data": x, "out.prob": want})
    done = trtconv("convert", "net.py", "-o", "net.onnx", "--allow-code", "--check-data", "known.npz")
    assert done.returncode == 0, done.stderr
    assert "implicit batch: create_network was given no flag and the builder a max_batch_size" in done.stderr
    assert "batch size 8, a workspace of 256 MiB, FP16" in done.stderr
    assert "recorded 7 layers" in done.stderr
    assert "compared with outputs in" in done.stderr
    assert "not compared" not in done.stderr
    assert close(run(tmp_path / "net.onnx", data=x)[0], want)


@pytest.mark.rtx
def test_the_job_in_configs(trtconv: Cli, tmp_path: Path) -> None:
    """LeNet of configs/network.yaml to engines; its FP32 ONNX against NumPy."""
    for name in ("network.yaml", "lenet_network.py"):
        shutil.copy(ROOT / "configs" / name, tmp_path)
    done = trtconv("run", "network.yaml", "--allow-code", "--set", "output=out", "--set", "build.backend=rtx")
    assert done.returncode == 0, done.stderr
    assert {file.name for file in (tmp_path / "out").glob("*.engine")} == {"network.fp32.engine", "network.fp16.engine"}
    text = (ROOT / "configs/lenet_network.py").read_text()
    scope: dict[str, Any] = {"np": np}
    exec(text[text.index("SHAPES = ") : text.index("def populate")], scope)
    w, x = scope["seeded"](), np.random.default_rng(0).standard_normal((3, 1, 28, 28)).astype(np.float32)
    y = x
    for name in ("conv1", "conv2"):
        y = f.pool(f.convolution(y, w[f"{name}.weight"], w[f"{name}.bias"]), (2, 2), (2, 2), "max")
    y = np.maximum(y.reshape(3, -1) @ w["fc1.weight"].T + w["fc1.bias"], 0) @ w["fc2.weight"].T + w["fc2.bias"]
    assert close(run(tmp_path / "out/network.onnx", data=x)[0], f.softmax(y, 1)[..., None, None])


def test_what_was_not_compared_is_said(trtconv: Cli, tmp_path: Path) -> None:
    script(tmp_path, LENET)
    done = trtconv("convert", "net.py", "-o", "net.onnx", "--allow-code", "--json")
    assert done.returncode == 0, done.stderr
    [step] = json.loads(done.stdout)["steps"]
    assert step["result"]["checked"] == []
    assert step["result"]["unchecked"].startswith("the layers of a script have no framework but TensorRT itself")
    assert "warning: not compared with the source" in done.stderr


def test_outputs_of_another_run_that_differ(trtconv: Cli, tmp_path: Path) -> None:
    script(tmp_path, LENET)
    x = np.zeros((1, 1, 28, 28), np.float32)
    np.savez(tmp_path / "other.npz", **{"in.data": x, "out.prob": np.ones((1, 10, 1, 1), np.float32)})
    done = trtconv("convert", "net.py", "-o", "net.onnx", "--allow-code", "--check-data", "other.npz")
    assert done.returncode == 6
    np.savez(tmp_path / "other.npz", **{"in.image": x, "out.prob": np.ones((1, 10, 1, 1), np.float32)})
    source, model = SourceSpec(tmp_path / "net.py", allow_code=True), tmp_path / "net.onnx"
    with pytest.raises(UsageError, match=r"holds in\.image \[1, 1, 28, 28\]; the model takes in\.data"):
        convert(ConvertRequest(source, model, check_data=tmp_path / "other.npz", support=False), ignore)


def test_code_runs_only_when_allowed(trtconv: Cli, tmp_path: Path) -> None:
    script(tmp_path, "import tensorrt\nopen('ran', 'w').close()\n")
    done = trtconv("convert", "net.py", "-o", "net.onnx")
    assert done.returncode == 2
    assert "a script is run as a program" in done.stderr
    assert "--allow-code" in done.stderr
    with pytest.raises(UsageError, match="a script is run as a program"):
        asks(SourceSpec(tmp_path / "net.py"), ignore)
    assert trtconv("init", "net.py", "-o", "job.yaml").returncode == 0
    assert trtconv("check", "job.yaml").returncode == 0
    assert not (tmp_path / "ran").exists()


def test_inspect_reads_the_text(trtconv: Cli, tmp_path: Path) -> None:
    script(tmp_path, LENET)
    begun = time.perf_counter()
    done = trtconv("inspect", "net.py", "--json")
    assert time.perf_counter() - begun < 3  # a second, on a machine that does nothing else
    found = json.loads(done.stdout)
    assert found["inputs"] == [{"name": "data", "dtype": "float", "shape": ["batch", 1, 28, 28]}]
    assert found["calls"] == {"add_convolution": 2, "add_pooling": 2, "add_fully_connected": 2, "add_activation": 1}
    assert found["implicit_batch"] is True
    assert found["function"] == "populate"
    assert found["builds"] == ["build_cuda_engine"]


def test_the_job_of_a_script(trtconv: Cli, tmp_path: Path) -> None:
    script(tmp_path, LENET)
    done = trtconv("convert", "net.py", "--allow-code", "--emit-job", "job.yaml")
    assert done.returncode == 0, done.stderr
    job = yaml.safe_load((tmp_path / "job.yaml").read_text())
    assert job["inputs"] == {"data": {"profile": {"min": 1, "opt": 8, "max": 8}}}
    assert job["precision"] == ["fp16"]
    assert job["build"] == {"workspace": 1 << 28}
    assert trtconv("check", "job.yaml").returncode == 0


INT8 = """
class Calibrator(trt.IInt8EntropyCalibrator2):
    def __init__(self):
        trt.IInt8EntropyCalibrator2.__init__(self)

    def get_batch_size(self):
        return 1

    def get_batch(self, names):
        return None

    def read_calibration_cache(self):
        return {cache}

    def write_calibration_cache(self, cache):
        pass


relu = network.add_activation(x, trt.ActivationType.RELU)
network.mark_output(relu.get_output(0))
config = builder.create_builder_config()
config.set_flag(trt.BuilderFlag.INT8)
config.int8_calibrator = Calibrator()
profile = builder.create_optimization_profile()
profile.set_shape("x", (1, 4), (2, 4), (8, 4))
config.add_optimization_profile(profile)
builder.build_serialized_network(network, config)
"""


def test_calibrators_profiles_and_ranges_reach_the_job(trtconv: Cli, tmp_path: Path) -> None:
    def job_of(text: str) -> Asks:
        made = record(tmp_path, text)
        return as_job(asdict(made.asked), asdict(made.decision), ["x"])

    head = HEAD.format(0, (-1, 4))
    text = "TRT-8601-EntropyCalibration2\\nx: 3c010a14\\n"
    script(tmp_path, head + INT8.format(cache=f"b'{text}'"))
    assert trtconv("convert", "net.py", "--allow-code", "--emit-job", "job.yaml").returncode == 0
    job = yaml.safe_load((tmp_path / "job.yaml").read_text())
    assert job["precision"] == ["int8"]
    assert job["lower"] == {"base": "fp32"}
    assert job["inputs"] == {"x": {"profile": {"min": [1, 4], "opt": [2, 4], "max": [8, 4]}}}
    assert (tmp_path / job["calibrate"]["cache"]).read_text().startswith("TRT-8601-EntropyCalibration2\nx: 3c010a14")
    ranged = job_of(head + "x.set_dynamic_range(-2.54, 2.54)\n" + INT8.format(cache="None"))
    assert ranged.cache.splitlines()[1] == "x: " + struct.pack(">f", 0.02).hex()
    assert "The cache holds the 1 dynamic ranges that the script sets." in ranged.remarks
    sampled = job_of(head + INT8.format(cache="None"))
    assert "The calibrator Calibrator reads samples in get_batch: save them as calibration.npz." in sampled.remarks
    assert sampled.job["calibrate"] == {"data": {"path": "calibration.npz"}}


VERSION_3 = """
import tensorrt as trt
from tensorrt import utils
from tensorrt.parsers import caffeparser, uffparser
import numpy as np

G_LOGGER = trt.infer.ConsoleLogger(trt.infer.LogSeverity.ERROR)
builder = trt.infer.create_infer_builder(G_LOGGER)
network = builder.create_network()
weights = utils.load_weights("w.wts")
data = network.add_input("data", trt.infer.DataType.FLOAT, (1, 8, 8))
assert data
conv = network.add_convolution(data, 4, (3, 3), weights["kernel"], weights["bias"])
conv.set_stride((2, 2))
conv.set_padding((1, 1))
conv.set_name("conv")
dims = conv.get_output(0).get_dimensions().to_DimsCHW()
assert (dims.C(), dims.H(), dims.W()) == (4, 4, 4)
pool = network.add_pooling(conv.get_output(0), trt.infer.PoolingType.AVERAGE, trt.infer.DimsHW(dims.H(), dims.W()))
prob = network.add_softmax(pool.get_output(0))
prob.get_output(0).set_name("prob")
network.mark_output(prob.get_output(0))
builder.set_max_batch_size(16)
builder.set_max_workspace_size(1 << 20)
builder.set_half2_mode(True)
engine = builder.build_cuda_engine(network)
engine.destroy()
"""


def wts(path: Path, arrays: dict[str, np.ndarray], *, typed: bool = False) -> None:
    """The text format of tensorrtx, or of NVIDIA's samples, which has a type before the count."""
    lines = [str(len(arrays))]
    for name, array in arrays.items():
        numbers = [struct.pack(">f", value).hex() for value in array.ravel()]
        lines.append(" ".join([name, *(["0"] if typed else []), str(array.size), *numbers]))
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("typed", [False, True])
def test_the_api_of_version_3(tmp_path: Path, *, typed: bool) -> None:
    random = np.random.default_rng(2)
    kernel, bias = random.standard_normal((4, 1, 3, 3)).astype(np.float32), np.float32([1, 2, 3, 4])
    wts(tmp_path / "w.wts", {"kernel": kernel, "bias": bias}, typed=typed)
    made = record(tmp_path, VERSION_3)
    assert made.asked.max_batch_size == 16
    assert made.asked.flags == ("FP16",)
    x = random.standard_normal((3, 1, 8, 8)).astype(np.float32)
    mean = f.convolution(x, kernel, bias, (2, 2), ((1, 1), (1, 1))).mean((2, 3), keepdims=True)
    assert close(run(tmp_path / "net.onnx", data=x)[0], f.softmax(mean, 1))


def test_attributes_set_late_and_inputs_replaced(tmp_path: Path) -> None:
    record(
        tmp_path,
        of(
            "pool = network.add_pooling_nd(x, trt.PoolingType.MAX, (2, 2))\n"
            "relu = network.add_activation(pool.get_output(0), trt.ActivationType.RELU)\n"
            "out = relu.get_output(0)\n"
            "assert tuple(out.shape) == (2, 3, 7, 7)\n"
            "pool.stride_nd = (2, 2)\n"
            "assert tuple(out.shape) == (2, 3, 4, 4), out.shape\n"
            "half = network.add_slice(x, (0, 0, 0, 0), (2, 3, 4, 8), (1, 1, 1, 1))\n"
            "pool.set_input(0, half.get_output(0))\n"
            "assert tuple(out.shape) == (2, 3, 2, 4)\n"
            "relu.type = trt.ActivationType.TANH\n"
            "for index in range(network.num_layers):\n"
            "    layer = network.get_layer(index)\n"
            "    if isinstance(layer, trt.IPoolingLayer):\n"
            "        assert layer.type == trt.PoolingType.MAX and layer.padding_nd == (0, 0)\n"
            "    layer.precision = trt.float16\n"
            "out.name = 'y'\n"
            "network.mark_output(out)\n"
        ),
    )
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    assert close(run(tmp_path / "net.onnx", x=x)[0], np.tanh(f.pool(x[:, :, :4], (2, 2), (2, 2), "max")))


def test_values_behave_as_the_bindings_do(tmp_path: Path) -> None:
    """Dimensions can be changed, weights come back as arrays, types print their names, nothing lies behind the end."""
    record(
        tmp_path,
        of(
            "start, size = trt.Dims([0, 0, 0, 0]), trt.Dims(x.shape)\n"
            "size[3] = 2\n"
            "left = network.add_slice(x, start, size, trt.Dims((1, 1, 1, 1)))\n"
            "start[3] = 2\n"
            "right = network.add_slice(x, start, size, (1, 1, 1, 1))\n"
            "assert x.shape == (2, 3, 8, 8) and x.shape[1:] == (3, 8, 8) and str(x.shape) == '(2, 3, 8, 8)'\n"
            "assert left.start == (0, 0, 0, 0) and isinstance(left.shape, trt.Dims)\n"
            "conv = network.add_convolution_nd(left.get_output(0), 1, (1, 1), np.ones((1, 3, 1, 1), np.float32))\n"
            "conv.stride_nd[0] = 7\n"
            "assert conv.stride_nd == (1, 1) and conv.kernel.shape == (1, 3, 1, 1) and conv.bias.size == 0\n"
            "assert str(trt.DataType.HALF) == 'DataType.HALF' and trt.float16.name == 'HALF'\n"
            "assert network.get_layer(9) is None and conv.get_output(1) is None\n"
            "both = network.add_elementwise(conv.get_output(0), right.get_output(0), trt.ElementWiseOperation.PROD)\n"
            "network.mark_output(both.get_output(0))\n"
        ),
    )
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    want = x[..., :2].sum(1, keepdims=True) * x[..., 2:4]
    assert close(run(tmp_path / "net.onnx", x=x)[0], want)


def test_dynamic_dimensions(tmp_path: Path) -> None:
    """Shapes computed by layers, dimensions that only a run tells, and -1 where the script asks."""
    record(
        tmp_path,
        HEAD.format(0, (-1, 3, -1, -1)) + "s = network.add_shape(x).get_output(0)\n"
        "one = lambda i: network.add_gather(s, network.add_constant((1,), np.array([i], np.int32)).get_output(0), 0)\n"
        "flat = network.add_constant((1,), np.array([-1], np.int32)).get_output(0)\n"
        "to = network.add_concatenation([one(0).get_output(0), one(1).get_output(0), flat])\n"
        "shuffle = network.add_shuffle(x)\n"
        "shuffle.set_input(1, to.get_output(0))\n"
        "assert tuple(x.shape) == (-1, 3, -1, -1)\n"
        "assert len(shuffle.get_output(0).shape) == 3\n"
        "network.mark_output(shuffle.get_output(0))\n" + BUILD,
    )
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    assert close(run(tmp_path / "net.onnx", x=x)[0], x.reshape(2, 3, 20))


def test_tensor_names_are_those_of_tensorrt(tmp_path: Path) -> None:
    """So that calibration caches of the script's engine fit the model."""
    record(
        tmp_path,
        of(
            "r = network.add_activation(x, trt.ActivationType.RELU)\n"
            "s = network.add_softmax(r.get_output(0))\n"
            "network.mark_output(s.get_output(0))"
        ),
    )
    model = onnx.load(tmp_path / "net.onnx")
    assert [node.output[0] for node in model.graph.node] == [
        "(Unnamed Layer* 0) [Activation]_output",
        "(Unnamed Layer* 1) [Softmax]_output",
    ]


@pytest.mark.parametrize(
    ("head", "implicit", "reason"),
    [
        (HEAD.format("", (3, 8, 8)), True, "the inputs have 3 dimensions"),
        (HEAD.format("", (2, 3, 8, 8)), False, "the inputs have 4 dimensions"),
        (HEAD.format("", (2, 3, 8, 8)) + "builder.max_batch_size = 2\n", True, "max_batch_size"),
        (HEAD.format("", (-1, 8, 8)), False, "dynamic dimensions"),
        (HEAD.format(FLAG, (3, 8, 8)), False, "EXPLICIT_BATCH"),
        (HEAD.format("1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)", (8, 8)), False, "STRONGLY_TYPED"),
    ],
)
def test_implicit_or_explicit(tmp_path: Path, head: str, reason: str, *, implicit: bool) -> None:
    body = "network.mark_output(network.add_softmax(x).get_output(0))"
    made = record(tmp_path, head + body + BUILD)
    assert made.decision.implicit is implicit
    assert reason in made.decision.reason
    rank = len(onnx.load(tmp_path / "net.onnx").graph.input[0].type.tensor_type.shape.dim)
    assert (made.notes[0][0] == "warning") is made.decision.guessed
    other = record(tmp_path, head + body + BUILD, implicit_batch=str(not implicit).lower())
    assert other.decision.implicit is not implicit
    assert (
        len(onnx.load(tmp_path / "net.onnx").graph.input[0].type.tensor_type.shape.dim) == rank + (not implicit) * 2 - 1
    )


def test_what_the_script_is_told_to_be(tmp_path: Path) -> None:
    """From version 10 on the same call makes an explicit batch, and shapes are INT64."""
    text = HEAD.format("", (3, 8)) + "s = network.add_shape(x)\nprint(trt.__version__)\n"
    text += "assert trt.__version__.startswith('10')\nnetwork.mark_output(s.get_output(0))" + BUILD
    made = record(tmp_path, text, version="10.3.0")
    assert not made.decision.implicit
    assert onnx.load(tmp_path / "net.onnx").graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.INT64
    with pytest.raises(SourceError, match="AssertionError"):
        record(tmp_path, text)
    with pytest.raises(UsageError, match="is no version"):
        record(tmp_path, text.replace("assert", "#"), version="latest")


def test_a_batch_that_looked_different_earlier(tmp_path: Path) -> None:
    text = (
        HEAD.format("", (2, 3, 8, 8))
        + "print(network.add_softmax(x).get_output(0).shape)\nbuilder.max_batch_size = 3\n"
    )
    text += "network.mark_output(network.get_layer(0).get_output(0))" + BUILD
    with pytest.raises(ConversionError, match="looked explicit, and in the end it looks implicit") as caught:
        record(tmp_path, text)
    assert "source.implicit_batch" in caught.value.hint
    assert record(tmp_path, text, implicit_batch="true").decision.implicit


# Weights of the job.
FUNCTION = """
import tensorrt as trt


def populate(network, weights):
    x = network.add_input("x", trt.float32, (4,))
    w = network.add_constant((3, 4), weights["w"].detach().cpu().numpy())
    y = network.add_matrix_multiply(w.get_output(0), trt.MatrixOperation.NONE, x, trt.MatrixOperation.VECTOR)
    network.mark_output(y.get_output(0))


if __name__ == "__main__":
    raise SystemExit("a training that takes hours")
"""
OPENS = """
import numpy as np
import tensorrt as trt
builder = trt.Builder(trt.Logger())
network = builder.create_network(0)
with np.load("/workspace/models/net.npz") as stored:
    w = stored["w"]
x = network.add_input("x", trt.float32, (4,))
c = network.add_constant((3, 4), w)
y = network.add_matrix_multiply(c.get_output(0), trt.MatrixOperation.NONE, x, trt.MatrixOperation.VECTOR)
network.mark_output(y.get_output(0))
builder.build_cuda_engine(network)
"""
W = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)


def safetensors(path: Path, arrays: dict[str, np.ndarray]) -> None:
    entries, content = {}, b""
    for name, array in arrays.items():
        entries[name] = {
            "dtype": "F32",
            "shape": list(array.shape),
            "data_offsets": [len(content), len(content) + array.nbytes],
        }
        content += array.tobytes()
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + content)


def test_weights_for_a_function_of_the_script(trtconv: Cli, tmp_path: Path) -> None:
    script(tmp_path, FUNCTION)
    np.savez(tmp_path / "w.npz", w=W)
    done = trtconv("convert", "net.py", "--weights", "w.npz", "--allow-code", "-o", "net.onnx")
    assert done.returncode == 0, done.stderr
    assert "called populate(network, weights) of the script" in done.stderr
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    assert close(run(tmp_path / "net.onnx", x=x)[0], x @ W.T)
    for suffix, write in ((".safetensors", safetensors), (".wts", wts)):
        write(tmp_path / f"w{suffix}", {"w": W.reshape(-1)})
        record(tmp_path, FUNCTION, weights=tmp_path / f"w{suffix}")
        assert close(run(tmp_path / "net.onnx", x=x)[0], x @ W.T)


def test_a_function_of_a_script_with_an_explicit_batch(tmp_path: Path) -> None:
    """The network is made as the script itself would make it."""
    text = FUNCTION.replace("(4,)", "(4, 1)").replace("VECTOR", "NONE")
    np.savez(tmp_path / "w.npz", w=W)
    made = record(tmp_path, f"{text}\n    create_network({FLAG})\n", weights=tmp_path / "w.npz")
    assert not made.decision.implicit
    assert record(tmp_path, text, weights=tmp_path / "w.npz").decision.implicit


def test_weights_in_place_of_a_file_that_the_script_opens(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", w=W)
    record(tmp_path, OPENS, weights=tmp_path / "mine.npz")
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    assert close(run(tmp_path / "net.onnx", x=x)[0], x @ W.T)
    asks = OPENS.replace("with np", "import os\nassert os.path.exists('/workspace/models/net.npz')\nwith np")
    record(tmp_path, asks, weights=tmp_path / "mine.npz")
    with pytest.raises(SourceError, match=r"net\.py:6: FileNotFoundError") as caught:
        record(tmp_path, OPENS)
    assert "source.weights stands in" in caught.value.hint


def test_weights_of_another_network(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", ww=W, **{f"conv{number}": W for number in range(9)})
    with pytest.raises(SourceError, match=r"net\.py:7: KeyError: 'w'") as caught:
        record(tmp_path, FUNCTION, weights=tmp_path / "other.npz")
    assert caught.value.hint == (
        "source.weights has conv0, conv1, conv2, conv3, conv4, conv5, conv6, conv7 and 2 more; did you mean 'ww'?"
    )
    np.savez(tmp_path / "other.npz", w=W[:2])
    with pytest.raises(ConversionError, match=r"net\.py:7: IConstantLayer .* 8 weights do not fill \[3, 4\]"):
        record(tmp_path, FUNCTION, weights=tmp_path / "other.npz")


def test_weights_that_nobody_takes(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", w=W)
    with pytest.raises(SourceError, match="neither asks for such a file nor has a function"):
        record(tmp_path, of("network.mark_output(network.add_softmax(x).get_output(0))"), weights=tmp_path / "mine.npz")


def test_damaged_and_foreign_weights(tmp_path: Path) -> None:
    def failure(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TrtconvError) as caught:
            weights.load(tmp_path / name)
        assert caught.value.hint
        return caught.value.message

    safetensors(tmp_path / "w.safetensors", {"w": W})
    whole = (tmp_path / "w.safetensors").read_bytes()
    assert "truncated: tensor 'w'" in failure("w.safetensors", whole[:-4])
    assert "but is damaged" in failure("w.safetensors", whole[:8] + b"{" * 20 + whole[28:])
    assert "ends after 1 of 2 tensors" in failure("w.wts", b"2\na 1 3f800000\n")
    assert "tensor 'a' has 1 of 2 numbers" in failure("w.wts", b"1\na 2 3f800000\n")
    assert "tensor 'a'" in failure("w.wts", b"1\na 1 xyz\n")
    assert "looks like a PNG image" in failure("w.npz", b"\x89PNG\r\n\x1a\n123")
    assert "an empty file" in failure("w.npz", b"")
    with pytest.raises((EnvironmentProblem, SourceError)) as caught:
        weights.load(script(tmp_path, "not a checkpoint", "w.pth"))
    assert "PyTorch" in caught.value.message or "not a state_dict" in caught.value.message


# What cannot be.
REFUSALS = {
    "creator = trt.get_plugin_registry().get_plugin_creator('NMS_TRT', '1', '')\n"
    "network.add_plugin_v2([x], creator.create_plugin('n', None))": r"net\.py:8: network\.add_plugin_v2 .*'NMS_TRT'",
    "network.add_loop()": r"net\.py:7: network\.add_loop adds a loop",
    "network.add_rnn_v2(x, 1, 20, 5, None)": r"net\.py:7: network\.add_rnn_v2 adds an RNN layer",
    "try:\n    network.add_if_conditional()\nexcept Exception:\n    pass": r"net\.py:8: .* adds a conditional",
    "trt.OnnxParser(network, trt.Logger())": r"net\.py:7: OnnxParser reads a model file",
    "a = network.add_constant((3, 1, 1), np.ones(3, np.float32)).get_output(0)\n"
    "out = network.add_elementwise(x, a, trt.ElementWiseOperation.SUM)": r"net\.py:8: IElementWise.*numbers of dim",
    "out = network.add_convolution_nd(x, 4, (3, 3), np.ones(4 * 5 * 9, np.float32))": (
        r"net\.py:7: IConvolutionLayer .*its kernel is for 5 channels, its input has 3"
    ),
    "out = network.add_softmax(x)\nout.axes = 0b11": r"net\.py:7: ISoftMaxLayer .*one axis",
    "out = network.add_einsum([x, x], 'abc,abc->ab')": r"net\.py:7: IEinsumLayer .*do not fit",
    "out = network.add_resize(x)\nout.scales = (1, 1, 2, 2)\nout.shape = (2, 3, 16, 12)": (
        r"net\.py:7: IResizeLayer .*its shape \(2, 3, 16, 12\) is not what its scales"
    ),
    "network.add_softmax(x)": "the network has no outputs",
}


@pytest.mark.parametrize("body", REFUSALS)
def test_refusals_name_the_line(tmp_path: Path, body: str) -> None:
    with pytest.raises(ConversionError, match=REFUSALS[body]) as caught:
        record(tmp_path, of(f"{body}\nif 'out' in globals():\n    network.mark_output(out.get_output(0))"))
    assert caught.value.hint


FAILURES = {
    "network.add_convolutoin(x)": r"net\.py:7: AttributeError: 'Network' object has no attribute 'add_convolutoin'",
    "network.add_softmax(x, axis=1)": r"net\.py:7: TypeError: add_softmax\(\) has no parameter 'axis'; it has input",
    "network.add_activation(x)": r"net\.py:7: TypeError: add_activation\(\) misses type",
    "network.add_softmax(network.add_softmax(x))": r"net\.py:7: TypeError: add_softmax\(\) takes tensors, ISoftMax",
    "y = network.add_softmax(x)\ny.strid = 2": r"net\.py:8: AttributeError: 'ISoftMaxLayer' .* no attribute 'strid'",
    "import a_package_that_is_not_there": r"net\.py:7: ModuleNotFoundError",
    "1 / 0": r"net\.py:7: ZeroDivisionError",
    "np.float(3)": r"net\.py:7: AttributeError: module 'numpy' has no attribute 'float'",
    "trt.SomethingNew": r"net\.py:7: AttributeError: module 'tensorrt' has no attribute 'SomethingNew'",
    "input('which network?')": r"net\.py:7: EOFError",
    "raise SystemExit(2)": "ended before it built a network: exit status 2",
    "raise SystemExit('usage: net.py -s')": "ended before it built a network: usage: net.py -s",
}


@pytest.mark.parametrize("body", FAILURES)
def test_scripts_that_fail(tmp_path: Path, body: str) -> None:
    with pytest.raises(SourceError, match=FAILURES[body]) as caught:
        record(tmp_path, of(body))
    assert caught.value.hint


def test_a_script_that_fails_on_the_command_line(trtconv: Cli, tmp_path: Path) -> None:
    script(tmp_path, of("raise ValueError('the bottom')"))
    done = trtconv("convert", "net.py", "-o", "net.onnx", "--allow-code")
    assert done.returncode == 3
    assert "net.py:7: ValueError: the bottom" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "net.onnx").exists()
    done = trtconv("convert", "net.py", "-o", "net.onnx", "--allow-code", "--python", "nowhere/python")
    assert done.returncode == 5, done.stderr
    assert "nowhere/python" in done.stderr


def test_scripts_that_are_none(trtconv: Cli, tmp_path: Path) -> None:
    script(tmp_path, "print('hello')")
    done = trtconv("convert", "net.py", "-o", "net.onnx", "--allow-code")
    assert done.returncode == 3
    assert "not a model that trtconv knows" in done.stderr
    with pytest.raises(SourceError, match=r"net\.py:2: no Python 3"):
        describe(script(tmp_path, "import tensorrt as trt\nprint 'python 2'\n"))
    with pytest.raises(ConversionError, match="the script builds no network"):
        record(tmp_path, "import tensorrt as trt\n")


CALIBRATES = """
from cuda import cuda, cudart
from cuda.bindings import runtime


class Calibrator(trt.IInt8EntropyCalibrator2):
    def __init__(self):
        trt.IInt8EntropyCalibrator2.__init__(self)
        error, self.memory = cudart.cudaMalloc(64)
        assert error == cudart.cudaError_t.cudaSuccess and isinstance(error, cudart.cudaError_t)
        (error,) = cudart.cudaMemcpy(self.memory, 0, 64, cudart.cudaMemcpyKind.cudaMemcpyHostToDevice)
        _, self.stream = runtime.cudaStreamCreate()
        status, device = cuda.cuDeviceGet(0)
        if status != cuda.CUresult.CUDA_SUCCESS:
            raise RuntimeError(status)


config = builder.create_builder_config()
config.flags = 1 << int(trt.BuilderFlag.INT8)
config.int8_calibrator = Calibrator()
network.mark_output(network.add_softmax(x).get_output(0))
builder.build_serialized_network(network, config)
"""


def test_cuda_before_the_build(tmp_path: Path) -> None:
    """Calibrators allocate when they are made: functions of CUDA's bindings return an error code first."""
    made = record(tmp_path, IMAGE + CALIBRATES)
    assert (made.asked.flags, made.asked.calibrator, made.asked.tf32) == (("INT8",), "Calibrator", False)


def test_arguments_and_a_script_that_never_builds(tmp_path: Path) -> None:
    text = (
        IMAGE + "import sys\nassert sys.argv[1:] == ['-s']\nnetwork.mark_output(network.add_softmax(x).get_output(0))"
    )
    made = record(tmp_path, text, arguments=("-s",))
    assert ("warning", "the script ended without building: its last network is taken") in made.notes
    with pytest.raises(SourceError, match="AssertionError"):
        record(tmp_path, text)
    assert (made.layers, Path.cwd() == tmp_path) == ({"ISoftMaxLayer": 1}, False)
