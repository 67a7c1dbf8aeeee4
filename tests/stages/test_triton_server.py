"""The exported repository under a real tritonserver: the one of the nvidia-pytriton package, which has no GPU backends.

So its ONNX half is served by a model of the Python backend that this test writes; the rest is what was exported.
``make triton`` makes the environment. What needs Triton's TensorRT backend cannot be served here: the server says so.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests import digits
from tests.networks import model, node, run, value
from tests.stages.test_export import JOB

pytestmark = [
    pytest.mark.slow,
    pytest.mark.rtx,
    pytest.mark.skipif(
        "TRTCONV_TEST_TRITON" not in os.environ,
        reason="TRTCONV_TEST_TRITON names no interpreter with nvidia-pytriton and onnxruntime: make triton",
    ),
]
PLACES = """
from sysconfig import get_config_var, get_path, get_python_version

print(get_path("purelib"), get_config_var("LIBDIR"), get_python_version())
"""
SESSION = """
import os

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"])
        path, self.executed = os.path.join(folder, "model.onnx"), os.path.join(folder, "executed")
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        inputs = self.session.get_inputs()
        names = [one.name for one in inputs]
        outputs = [one.name for one in self.session.get_outputs()]
        open(self.executed, "w").close()
        scalars = [one.name for one in inputs if one.shape == []]  # as the backend for ONNX Runtime has them
        feeds = [{n: pb_utils.get_input_tensor_by_name(r, n).as_numpy() for n in names} for r in requests]
        for feed in feeds:
            feed.update({n: feed[n].reshape(()) for n in scalars})
        whole = {n: np.concatenate([feed[n] for feed in feeds]) if len(feeds) > 1 else feeds[0][n] for n in names}
        made = self.session.run(outputs, whole)
        ends = np.cumsum([len(feed[names[0]]) for feed in feeds])[:-1]
        parts = [np.split(array, ends) if len(feeds) > 1 else [array] for array in made]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(n, np.atleast_1d(p[i])) for n, p in zip(outputs, parts)])
            for i in range(len(requests))
        ]
"""
CLIENT = """
import sys

import numpy as np
import tritonclient.http as http
from concurrent.futures import ThreadPoolExecutor

url, model, data, output = sys.argv[1:]
samples = np.load(data)["x"]


def ask(row):
    client = http.InferenceServerClient(url)
    given = http.InferInput("sample", [1, *samples.shape[1:]], "UINT8")
    given.set_data_from_numpy(samples[row : row + 1])
    answer = client.infer(model, [given])
    return answer.as_numpy("y_class")[0, 0], answer.as_numpy("y_label")[0, 0].decode()


with ThreadPoolExecutor(16) as pool:
    answers = list(pool.map(ask, range(200)))
np.savez(output, classes=[a[0] for a in answers], labels=[a[1] for a in answers])
"""


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


class Server:
    """A tritonserver on a repository."""

    def __init__(self, repository: Path, home: Path) -> None:
        python = Path(os.environ["TRTCONV_TEST_TRITON"])
        packages = subprocess.run([python, "-c", PLACES], capture_output=True, text=True, check=True).stdout.split()
        root = Path(packages[0]) / "pytriton" / "tritonserver"
        backends = home / "backends"
        shutil.copytree(root / "backends", backends, dirs_exist_ok=True)
        stub = root / "python_backend_stubs" / packages[2] / "triton_python_backend_stub"
        shutil.copy2(stub, backends / "python" / "triton_python_backend_stub")
        self.port, grpc, metrics = free_port(), free_port(), free_port()
        self.metrics = metrics
        libraries = [packages[1], str(Path(packages[0]) / "nvidia_pytriton.libs"), str(root / "external_libs")]
        env = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}", "LD_LIBRARY_PATH": ":".join(libraries)}
        self.log = home / "server.log"
        command = [
            root / "bin" / "tritonserver",
            "--model-repository",
            repository,
            "--backend-directory",
            backends,
            "--http-port",
            self.port,
            "--grpc-port",
            grpc,
            "--metrics-port",
            metrics,
        ]
        with self.log.open("w") as out:
            self.process = subprocess.Popen([str(word) for word in command], env=env, stdout=out, stderr=out)

    def ready(self) -> bool:
        """Wait until it serves; False where it ended."""
        for _ in range(600):
            if self.process.poll() is not None:
                return False
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v2/health/ready", timeout=2)
                return True
            except OSError:
                time.sleep(0.1)
        raise AssertionError(self.log.read_text()[-3000:])

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("triton")
    digits.write(made)
    images = (np.load(made / "heldout.npz")["x"] * 16).astype(np.uint8)
    np.savez(made / "raw.npz", x=images.transpose(0, 2, 3, 1))
    for precision in ("onnx", "engines"):
        runtime = "onnxruntime" if precision == "onnx" else "python"
        job = JOB.replace("matrix: {target: [sm86, sm89]}", "").replace("mean: 0.5, std: 2", "mean: 0, std: 1")
        text = job.replace("repository: models", f"repository: {precision}, runtime: {runtime}")
        (made / "job.yaml").write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "trtconv", "run", "job.yaml", "-q"],
            cwd=made,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return made


def by_python(repository: Path) -> None:
    """Serve what ONNX Runtime's backend would: the backend is the only word that is not as exported."""
    for config in repository.glob("*/config.pbtxt"):
        text = config.read_text()
        if 'backend: "onnxruntime"' in text:
            text = text.replace('default_model_filename: "model.onnx"\n', "")
            config.write_text(text.replace('backend: "onnxruntime"', 'backend: "python"'))
            (config.parent / "1" / "model.py").write_text(SESSION)


@pytest.fixture(scope="module")
def served(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The ONNX half."""
    by_python(folder / "onnx")
    server = Server(folder / "onnx", tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_two_hundred_requests_come_back_with_the_right_classes(folder: Path, served: Server, precision: str) -> None:
    assert served.ready(), served.log.read_text()[-3000:]
    (folder / "client.py").write_text(CLIENT)
    model, answers = f"digits_{precision}_pipeline", folder / f"{precision}.npz"
    asked = [folder / "client.py", f"127.0.0.1:{served.port}", model, folder / "raw.npz", answers]
    command = [os.environ["TRTCONV_TEST_TRITON"], *asked]
    subprocess.run([str(word) for word in command], check=True, timeout=120)
    found = np.load(answers)
    labels = np.load(folder / "heldout.npz")["labels"][:200]
    assert (found["classes"] == labels).mean() > 0.93
    assert found["labels"].tolist() == np.array(digits.NAMES)[found["classes"]].tolist()
    counts = statistics(served, f"digits_{precision}")
    assert counts["inferences"] >= 200
    assert counts["executions"] < counts["inferences"], "the server made batches"


def statistics(served: Server, model: str) -> dict[str, int]:
    import json

    with urllib.request.urlopen(f"http://127.0.0.1:{served.port}/v2/models/{model}/stats") as answer:
        (found,) = json.load(answer)["model_stats"]
    return {"inferences": int(found["inference_count"]), "executions": int(found["execution_count"])}


def test_a_wrong_field_is_refused_by_the_server_too(folder: Path, served: Server, tmp_path: Path) -> None:
    """What our check refuses (see test_export) the server refuses as well: a preferred batch above the largest."""
    wrong = tmp_path / "models"
    shutil.copytree(folder / "onnx" / "digits_fp32", wrong / "digits_fp32")
    config = wrong / "digits_fp32" / "config.pbtxt"
    config.write_text(config.read_text().replace("preferred_batch_size: [32]", "preferred_batch_size: [65]"))
    server = Server(wrong, tmp_path)
    try:
        assert not server.ready()
        assert "preferred" in server.log.read_text()
    finally:
        server.close()


def test_engines_need_a_gpu_and_the_server_says_so(folder: Path, served: Server, tmp_path: Path) -> None:
    """Engines of TensorRT-RTX are served by trtconv in the server's Python, which this environment does not have."""
    engines = tmp_path / "models"
    shutil.copytree(folder / "engines" / "digits_fp16", engines / "digits_fp16")
    server = Server(engines, tmp_path)
    try:
        assert not server.ready()
        log = server.log.read_text()
        assert "GPU" in log or "No module named 'trtconv'" in log
    finally:
        server.close()


WEIGHTS = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
BATCH = "{profile: {min: 1, opt: 4, max: 8}}"
ODD = {
    "names": (
        model(
            [node("MatMul", "in/put:0 w", "out/put:0"), node("ReduceMax", "out/put:0", "most:1", axes=[1], keepdims=0)],
            [value("in/put:0", ["batch", 4])],
            [value("out/put:0", ["batch", 3]), value("most:1", ["batch"])],
            {"w": WEIGHTS},
        ),
        {"in/put:0": np.ones((3, 4), np.float32)},
        f"inputs: {{'in/put:0': {BATCH}}}",
    ),
    "numbers": (
        model([node("Add", "x x", "y")], [value("x", ["batch"])], [value("y", ["batch"])]),
        {"x": np.arange(3, dtype=np.float32)},
        f"inputs: {{x: {BATCH}}}",
    ),
    "scalar": (
        model([node("Mul", "x s", "y")], [value("x", ["batch", 4]), value("s", [])], [value("y", ["batch", 4])]),
        {"x": np.ones((3, 4), np.float32), "s": np.float32([3])},
        f"inputs: {{x: {BATCH}}}",
    ),
    "fixed": (
        model([node("MatMul", "x w", "y")], [value("x", [2, 4])], [value("y", [2, 3])], {"w": WEIGHTS}),
        {"x": np.ones((2, 4), np.float32)},
        "",
    ),
    "target": (
        model(
            [node("Reshape", "x t", "y")],
            [value("x", ["batch", 4]), value("t", [2], TensorProto.INT64)],
            [value("y", ["p", "q"])],
        ),
        {"x": np.ones((2, 4), np.float32), "t": np.array([4, 2])},
        f"inputs: {{x: {BATCH}, t: {{values: {{min: [1, 1], opt: [4, 4], max: [8, 8]}}}}}}",
    ),
    "ids": (
        model(
            [node("Gather", "w ids", "g"), node("ReduceMax", "g", "y", axes=[1], keepdims=0)],
            [value("ids", ["batch", "tokens"], TensorProto.INT64)],
            [value("y", ["batch", 3])],
            {"w": WEIGHTS},
        ),
        {"ids": np.array([[0, 1, 2], [3, 3, 3]])},
        "inputs: {ids: {profile: {min: [1, 1], opt: [4, 5], max: [8, 16]}}}",
    ),
}
"""Interfaces that are no images with a batch: the model, a request, and what the job says of the inputs."""
ASK = """
import sys

import numpy as np
import tritonclient.http as http
from tritonclient.utils import np_to_triton_dtype

url, model, data, output = sys.argv[1:]
inputs = []
for name, array in np.load(data).items():
    inputs.append(http.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
    inputs[-1].set_data_from_numpy(array)
answer = http.InferenceServerClient(url).infer(model, inputs)
np.savez(output, **{one["name"]: answer.as_numpy(one["name"]) for one in answer.get_response()["outputs"]})
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Server]]:
    """All of them in one repository, served as ONNX."""
    place = tmp_path_factory.mktemp("odd")
    for name, (network, feeds, inputs) in ODD.items():
        onnx.save(network, place / f"{name}.onnx")
        np.savez(place / f"{name}.npz", **feeds)
        data = "" if name in ("scalar", "target") else f"verify: {{data: {{path: {name}.npz}}}}\n"
        text = f"version: 1\nname: {name}\noutput: out\nsource: {{path: {name}.onnx}}\n{data}{inputs}\n"
        (place / f"{name}.yaml").write_text(text)
        command = ["export", "triton", f"{name}.yaml", "-o", "served", "--runtime", "onnxruntime", "-q"]
        done = subprocess.run(
            [sys.executable, "-m", "trtconv", *command], cwd=place, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    by_python(place / "served")
    server = Server(place / "served", tmp_path_factory.mktemp("server"))
    assert server.ready(), server.log.read_text()[-3000:]
    yield place, server
    server.close()


@pytest.mark.parametrize("name", ODD)
def test_odd_interfaces_are_served(name: str, odd: tuple[Path, Server]) -> None:
    """Names that no file may have, numbers instead of rows, scalars, whole batches, inputs that decide shapes."""
    place, server = odd
    network, feeds, _ = ODD[name]
    warmed = (place / "served" / f"{name}_fp32" / "1" / "executed").exists()
    assert warmed == (name not in ("scalar", "target")), "what has samples ran one before it was asked"
    (place / "ask.py").write_text(ASK)
    batched = name in ("names", "numbers", "ids")
    asked = {one: array[:, None] if batched and array.ndim == 1 else array for one, array in feeds.items()}
    np.savez(place / "asked.npz", **asked)
    command = ["ask.py", f"127.0.0.1:{server.port}", f"{name}_fp32", "asked.npz", "answer.npz"]
    subprocess.run([os.environ["TRTCONV_TEST_TRITON"], *command], cwd=place, check=True, timeout=60)
    right = run(network, {one: array.reshape(()) if one == "s" else array for one, array in feeds.items()})
    found = np.load(place / "answer.npz")
    assert set(found) == set(right)
    for one, array in right.items():
        np.testing.assert_allclose(found[one].reshape(array.shape), array, rtol=1e-5, err_msg=one)
