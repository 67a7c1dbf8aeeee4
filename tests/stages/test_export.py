"""A job to a Triton model repository: what is in it, read by Triton's own definitions; versions; what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from tests import digits
from tests.engines.models import save
from trtconv.adapters import triton
from trtconv.core.errors import UsageError
from trtconv.core.records import ShapeRange, TensorInfo
from trtconv.stages.export import config_check, ensemble, model_config
from trtconv.stages.export.model_config import Interface, Serving

pytestmark = pytest.mark.skipif(
    not triton.installed(), reason="tritonclient not installed: pip install 'trtconv[triton]'"
)

JOB = """
version: 1
output: out
source: {path: digits.onnx}
inputs:
  x: {profile: {min: 1, opt: 32, max: 64}}
precision: [fp32, fp16, int8]
matrix: {target: [sm86, sm89]}
calibrate: {data: {path: heldout.npz}}
infer:
  data: {path: raw.npz, preprocess: [{normalize: {scale: 0.0625, mean: 0.5, std: 2}}, {layout: {to: nchw}}]}
  format: csv
  postprocess: [softmax: {}, topk: {k: 3, labels: names.txt}]
export:
  triton: {repository: models, name: digits, instances: 2, queue_delay: 2ms}
"""


@pytest.fixture(scope="module")
def module_cli():
    """Run ``python -m trtconv ARGS`` in a folder."""

    def call(*args, cwd):
        command = [sys.executable, "-m", "trtconv", *map(str, args)]
        env = {**os.environ, "COLUMNS": "100", "TRTCONV_CACHE": "off"}
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("export")
    digits.write(made)
    images = (np.load(made / "heldout.npz")["x"] * 16).astype(np.uint8)
    np.savez(made / "raw.npz", x=images.transpose(0, 2, 3, 1))
    (made / "job.yaml").write_text(JOB)
    return made


@pytest.fixture(scope="module")
def exported(folder: Path, module_cli) -> Mapping[str, object]:
    done = module_cli("run", "job.yaml", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["export"]


def config(folder: Path, model: str) -> Mapping[str, object]:
    return triton.read_config((folder / "models" / model / "config.pbtxt").read_text(), model)


@pytest.mark.rtx
def test_a_job_ends_in_a_repository(folder: Path, exported) -> None:
    names = [model["name"] for model in exported["models"]]
    cores = ["digits_fp32", "digits_fp16", "digits_int8"]
    assert {*cores, *(f"{name}_pipeline" for name in cores), "digits_preprocess", "digits_postprocess"} <= {*names}
    for name in cores:
        said = config(folder, name)
        assert said["backend"] == "python"
        assert said["max_batch_size"] == 64
        assert said["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": ["1", "8", "8"]}]
        assert said["output"][0]["dims"] == ["10"]
        assert said["dynamic_batching"] == {"preferred_batch_size": [32], "max_queue_delay_microseconds": "2000"}
        assert said["instance_group"] == [{"kind": "KIND_GPU", "count": 2}]
        assert said["cc_model_filenames"] == {"8.6": "model_sm86.engine", "8.9": "model_sm89.engine"}
        for target in ("sm86", "sm89"):
            precision = name.removeprefix("digits_")
            built = folder / f"out/job.{precision}-{target}.engine"
            assert (folder / f"models/{name}/1/model_{target}.engine").read_bytes() == built.read_bytes()
        assert (folder / f"models/{name}/1/model.py").is_file()


@pytest.mark.rtx
def test_warmup_is_a_real_sample_and_labels_are_there(folder: Path, exported) -> None:
    said = config(folder, "digits_fp16")
    ((name, entry),) = said["model_warmup"][0]["inputs"].items()
    assert (name, entry["dims"]) == ("x", ["1", "8", "8"])
    sample = np.fromfile(folder / "models/digits_fp16/warmup" / entry["input_data_file"], np.float32)
    raw = np.load(folder / "raw.npz")["x"][0].transpose(2, 0, 1)
    np.testing.assert_allclose(sample.reshape(1, 8, 8), (raw * 0.0625 - 0.5) / 2, rtol=1e-6)


@pytest.mark.rtx
def test_the_ensemble_computes_what_infer_does(folder: Path, exported) -> None:
    """Its members, run one after the other by ONNX Runtime, against the formulas."""
    said = config(folder, "digits_fp32_pipeline")
    steps = said["ensemble_scheduling"]["step"]
    tensors = {"sample": np.load(folder / "raw.npz")["x"]}
    assert said["input"] == [{"name": "sample", "data_type": "TYPE_UINT8", "dims": ["8", "8", "1"]}]
    for step in steps:
        own = folder / "models" / step["model_name"] / "1" / "model.onnx"
        model = own if own.is_file() else folder / "out/job.fp32.onnx"
        run = onnxruntime.InferenceSession(model)
        feeds = {key: tensors[value] for key, value in step["input_map"].items()}
        names = [output.name for output in run.get_outputs()]
        made = dict(zip(names, run.run(names, feeds), strict=True))
        tensors |= {value: made[key] for key, value in step["output_map"].items()}
    weights = onnxruntime.InferenceSession(folder / "digits.onnx")
    x = ((tensors["sample"].transpose(0, 3, 1, 2) * np.float32(0.0625)) - 0.5) / 2
    logits = weights.run(None, {"x": x.astype(np.float32)})[0]
    shown = np.exp(logits - logits.max(1, keepdims=True))
    shown /= shown.sum(1, keepdims=True)
    order = np.argsort(-shown, axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(tensors["y_class"], order)
    np.testing.assert_allclose(tensors["y_score"], np.take_along_axis(shown, order, 1), rtol=1e-4, atol=1e-6)
    assert tensors["y_label"].tolist() == np.array(digits.NAMES)[order].tolist()


@pytest.mark.rtx
def test_a_second_export_changes_nothing_and_other_content_is_a_new_version(folder: Path, exported, module_cli) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "models").rglob("*")}
    again = module_cli("export", "triton", "job.yaml", "--json", cwd=folder)
    assert again.returncode == 0, again.stderr
    models = json.loads(again.stdout)["export"]["models"]
    assert {model["status"] for model in models} == {"unchanged"}
    assert {path: path.stat().st_mtime_ns for path in (folder / "models").rglob("*")} == before
    other = module_cli("export", "triton", "job.yaml", "--runtime", "onnxruntime", "--json", cwd=folder)
    assert other.returncode == 0, other.stderr
    models = {model["name"]: model for model in json.loads(other.stdout)["export"]["models"]}
    assert (models["digits_fp16"]["version"], models["digits_fp16"]["status"]) == (2, "new version")
    assert models["digits_postprocess"]["status"] == "unchanged"
    assert (folder / "models/digits_fp16/2/model.onnx").read_bytes() == (folder / "out/job.fp16.onnx").read_bytes()
    assert config(folder, "digits_fp16")["default_model_filename"] == "model.onnx"
    assert (folder / "models/digits_fp16/1/model_sm86.engine").is_file()


@pytest.mark.rtx
def test_members_of_an_ensemble_of_whole_batches_take_whole_batches(folder: Path, module_cli) -> None:
    """The network takes two at least, so nobody batches, whatever the models around it could."""
    job = JOB.replace("min: 1", "min: 2").replace("[fp32, fp16, int8]", "fp16").replace("matrix:", "# matrix:")
    (folder / "pairs.yaml").write_text(job.replace("repository: models", "repository: pairs"))
    done = module_cli("export", "triton", "pairs.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    for path in (folder / "pairs").glob("*/config.pbtxt"):
        said = triton.read_config(path.read_text(), path.parent.name)
        assert said.get("max_batch_size", 0) == 0
        assert {tensor["dims"][0] for tensor in (*said["input"], *said["output"])} == {"-1"}


@pytest.mark.rtx
def test_labels_are_one_per_class(folder: Path, exported, module_cli) -> None:
    """As infer has it: the server would give what it finds."""
    (folder / "few.txt").write_text("one\ntwo\n")
    (folder / "few.yaml").write_text(JOB.replace("names.txt", "few.txt").replace("models", "few"))
    refused = module_cli("export", "triton", "few.yaml", "--set", "name=job", cwd=folder)
    assert (refused.returncode, "y has 10 classes, and there are 2 labels" in refused.stderr) == (2, True)
    assert not (folder / "few").exists()


@pytest.mark.rtx
def test_what_others_wrote_is_not_replaced(folder: Path, exported, module_cli) -> None:
    """A configuration that was changed by hand, or a model that somebody else put there."""
    engine = ["export", "triton", "out/job.fp16-sm86.engine", "-o", "shared", "--name"]
    assert module_cli(*engine, "mine", cwd=folder).returncode == 0
    place = folder / "shared/mine/config.pbtxt"
    place.write_text(place.read_text().replace("count: 1", "count: 7"))
    (folder / "shared/theirs").mkdir()
    (folder / "shared/theirs/config.pbtxt").write_text('backend: "onnxruntime"\n')
    for name in ("mine", "theirs"):
        before = (folder / "shared" / name / "config.pbtxt").read_bytes()
        refused = module_cli(*engine, name, "--runtime", "onnxruntime", cwd=folder)
        assert refused.returncode == 2
        assert f"{name}: there, and config.pbtxt is not as trtconv wrote it" in refused.stderr
        assert "--name" in refused.stderr
        assert (folder / "shared" / name / "config.pbtxt").read_bytes() == before
        assert not (folder / "shared" / name / "2").exists()


@pytest.mark.rtx
def test_what_cannot_be_exported_is_refused_before_anything_runs(folder: Path, module_cli) -> None:
    (folder / "file").write_text("")
    for change, says in {
        "export.triton.repository=file": "file",
        "matrix={profile: {a b: {min: 1, opt: 1, max: 1}, a_b: {min: 1, opt: 2, max: 2}}}": "would be the model",
    }.items():
        for command in ("check", "plan", "run"):
            done = module_cli(command, "job.yaml", "--set", change, "--set", "output=none", cwd=folder)
            assert (done.returncode, says in done.stderr) == (2, True), done.stderr
    assert not (folder / "none").exists()


@pytest.mark.rtx
def test_check_and_plan_tell_what_is_exported(folder: Path, module_cli) -> None:
    """Models are called as the job is, as far as Triton's names go."""
    (folder / "a (1).yaml").write_text(JOB.replace("name: digits, ", ""))
    for command in ("check", "plan"):
        done = module_cli(command, "a (1).yaml", "--json", cwd=folder)
        said = json.loads(done.stdout)["export"]
        assert said == {"repository": str(folder / "models"), "models": ["a_1__fp32", "a_1__fp16", "a_1__int8"]}


@pytest.mark.rtx
def test_engines_of_rtx_are_refused_where_tensorrt_is_asked_for(folder: Path, exported, module_cli) -> None:
    refused = module_cli("export", "triton", "job.yaml", "--runtime", "tensorrt", "-o", "elsewhere", cwd=folder)
    assert refused.returncode == 2
    assert "which Triton's TensorRT backend does not load" in refused.stderr
    assert "--runtime onnxruntime" in refused.stderr
    assert not (folder / "elsewhere").exists()


@pytest.mark.rtx
def test_one_engine_without_a_job(folder: Path, exported, module_cli) -> None:
    done = module_cli("export", "triton", "out/job.fp16-sm86.engine", "-o", "single", "--link", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    (model,) = json.loads(done.stdout)["export"]["models"]
    engine = folder / "single" / model["name"] / "1/model.engine"
    assert engine.samefile(folder / "out/job.fp16-sm86.engine")
    nothing = module_cli("export", "triton", "out/job.fp16-sm86.engine", cwd=folder)
    assert (nothing.returncode, "-o is missing" in nothing.stderr) == (2, True)


@pytest.mark.rtx
def test_a_missed_gate_exports_nothing(folder: Path, exported, module_cli) -> None:
    missed = module_cli(
        "run", "job.yaml", "--gate", "engine_size<=1KiB", "--set", "export.triton.repository=never", cwd=folder
    )
    assert missed.returncode == 7
    assert not (folder / "never").exists()


IMAGE = TensorInfo("x", "float", ("batch", 3, 8, 8))
CLASSES = TensorInfo("y", "float", ("batch", 10))


def profile(least: int, best: int, most: int) -> dict[str, ShapeRange]:
    return {"x": ShapeRange((least, 3, 8, 8), (best, 3, 8, 8), (most, 3, 8, 8))}


def test_batches_only_where_the_first_axis_counts_samples() -> None:
    def batch(inputs, outputs=(CLASSES,), profiles=(), values=()):
        return Interface(tuple(inputs), tuple(outputs), tuple(profiles), tuple(values)).batch

    assert batch([IMAGE], profiles=[profile(1, 4, 16)]) == 16
    assert batch([IMAGE], profiles=[profile(1, 4, 16), profile(1, 16, 128)]) == 128
    assert batch([IMAGE], profiles=[profile(8, 8, 8)]) == 0, "smaller requests would be refused"
    assert batch([IMAGE], profiles=[profile(5, 8, 32), profile(1, 1, 4)]) == 32, "one takes what the other does not"
    assert batch([IMAGE], profiles=[profile(1, 1, 1), profile(8, 8, 8)]) == 1, "nobody takes two"
    assert batch([TensorInfo("x", "float", ("sequence", "batch", 3))], profiles=[]) == 0, "the second axis counts them"
    assert batch([TensorInfo("x", "float", (4, 3, 8, 8))]) == 0
    assert batch([IMAGE, TensorInfo("h", "float", ("layers", "batch", 3))]) == 0, "a state with its batch elsewhere"
    assert batch([IMAGE], [TensorInfo("y", "float", (10,))]) == 0
    assert batch([IMAGE], values=[{"n": ShapeRange((1,), (2,), (3,))}]) == 0


def test_every_field_is_read_back_by_tritons_definitions() -> None:
    """Among them names with signs to be escaped, scalars, several profiles, graphs and shape inputs."""
    odd = TensorInfo('a "quoted"\\\n\x01 ü', "float16", ("batch",))
    interface = Interface((IMAGE, odd), (CLASSES,), (profile(1, 4, 16), profile(1, 8, 32)))
    serving = Serving(
        "tensorrt",
        "KIND_GPU",
        3,
        0.0005,
        True,
        {"y": "l.txt"},
        {"x": ("0.raw", (3, 8, 8))},
        "m.plan",
        {"8.6": "m86.plan"},
    )
    text = model_config.text(model_config.config("m", interface, serving))
    said = triton.read_config(text, "m")
    assert said["input"][1] == {"name": odd.name, "data_type": "TYPE_FP16", "dims": ["1"], "reshape": {}}
    assert said["instance_group"] == [{"kind": "KIND_GPU", "count": 3, "profile": ["0", "1"]}]
    assert [spec["batch_size"] for spec in said["optimization"]["cuda"]["graph_spec"]] == [1, 4, 8]
    assert said["output"][0]["label_filename"] == "l.txt"
    shape = Interface((TensorInfo("n", "int64", (1,)),), (CLASSES,), values=({"n": ShapeRange((1,), (2,), (3,))},))
    text = model_config.text(model_config.config("m", shape, Serving("tensorrt")))
    assert triton.read_config(text, "m")["input"][0]["is_shape_tensor"]
    text = model_config.text(model_config.config("m", shape, Serving("python")))
    assert "is_shape_tensor" not in text, "a server refuses it of other backends (test_triton_server)"


def test_a_field_that_triton_does_not_know_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Triton does not read it.*preferred_batch"):
        triton.read_config('name: "m" dynamic_batching { preferred_batch: 3 }', "m")


SHAPES = {"name": "n", "data_type": "TYPE_INT64", "dims": [1]}


def core(**changes: object) -> dict[str, object]:
    interface = Interface((IMAGE,), (CLASSES,), (profile(1, 4, 16),))
    return {**model_config.config("net", interface, Serving("tensorrt", default="model.plan")), **changes}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "other"}, "must be that of the folder"),
        ({"dynamic_batching": {"preferred_batch_size": [32]}}, "preferred_batch_size 32 is not within 1 and"),
        ({"max_batch_size": 0}, "dynamic_batching needs a max_batch_size"),
        ({"default_model_filename": "absent.plan"}, "no file absent.plan"),
        ({"cc_model_filenames": [{"key": "9.x", "value": "model.plan"}]}, "'9.x' is no compute capability"),
        ({"cc_model_filenames": [{"key": "9.0", "value": "m90.plan"}]}, "no file m90.plan"),
        ({"input": []}, "no input"),
        ({"output": [{"name": "y", "data_type": "TYPE_FP32", "dims": []}]}, "are not sizes"),
        ({"instance_group": [{"count": 0}]}, "less than 1"),
        ({"model_warmup": [{"batch_size": 0, "inputs": []}]}, "model_warmup: batch_size 0"),
        ({"backend": "python", "input": [{**SHAPES, "is_shape_tensor": True}]}, "is for TensorRT's own backend"),
        ({"max_batch_size": 0, "input": [{**SHAPES, "reshape": {"shape": []}}]}, "goes with batches only"),
    ],
)
def test_what_the_definitions_do_not_refuse(changes: dict[str, object], says: str) -> None:
    config_check.require({"net": core()}, {"net": ["model.plan"]})
    with pytest.raises(UsageError, match=says):
        config_check.require({"net": core(**changes)}, {"net": ["model.plan"]})


def whole(dims: list[int], model: str = "net") -> dict[str, object]:
    ends = (
        [{"name": "x", "data_type": "TYPE_FP32", "dims": dims}],
        [{"name": "y", "data_type": "TYPE_FP32", "dims": [10]}],
    )
    return model_config.ensemble("all", 16, ends, [model_config.step(model, {"x": "x"}, {"y": "y"})])


def test_members_of_an_ensemble_must_fit() -> None:
    files = {"net": ["model.plan"]}
    config_check.require({"net": core(), "all": whole([3, 8, 8])}, files)
    config_check.require({"net": core(), "all": whole([3, -1, -1])}, files)
    with pytest.raises(UsageError, match=r"input 'x' is .*\(3, 8, 8\).*gives"):
        config_check.require({"net": core(), "all": whole([3, 9, 8])}, files)
    with pytest.raises(UsageError, match="no such model; did you mean 'net'"):
        config_check.require({"net": core(), "all": whole([3, 8, 8], "nets")}, files)


def run(model: bytes, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize("seed", range(12))
def test_rows_before_the_network_are_those_of_trtconv(seed: int) -> None:
    """Random chains: the part in ONNX after the part that is left to the client, against the whole chain in NumPy."""
    from trtconv.data import preprocess

    random = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    if random.random() < 0.4:
        rows.append({"crop": {"size": [8, 8]}})
    rows += [{"channels": {"to": str(random.choice(["bgr", "rgb", "gray"]))}} for _ in range(random.integers(0, 3))]
    each = [float(one) for one in random.uniform(0.5, 2, 3)]
    grey = any(row.get("channels") == {"to": "gray"} for row in rows)
    rows.append({"normalize": {"scale": 1 / 255, "mean": 0.4 if grey else each, "std": 0.5 if grey else each[::-1]}})
    if first := random.random() < 0.6:
        rows.append({"layout": {"to": "nchw"}})
    grey = [row["channels"]["to"] for row in rows if "channels" in row][-1:] == ["gray"] or grey
    rows = [row for row in rows if not (grey and "channels" in row and row["channels"]["to"] != "gray")]
    channels = 1 if grey else 3
    network = TensorInfo("x", "float", ("batch", channels, 8, 8) if first else ("batch", 8, 8, channels))
    side = ensemble.before(rows, [network], "uint8")
    assert side.left == tuple("crop" for row in rows if "crop" in row)
    samples = random.integers(0, 256, (4, 8, 8, 3), np.uint8)
    chain = preprocess.prepare(rows)
    expected = np.stack([chain(sample) for sample in samples])
    np.testing.assert_allclose(run(side.model, {"sample": samples})["prepared"], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float", "float16"])
def test_rows_after_the_network_are_those_of_trtconv(tmp_path: Path, dtype: str) -> None:
    from trtconv.data import postprocess

    (tmp_path / "names").write_text("\n".join("abcde"))
    kind = np.float32 if dtype == "float" else np.float16
    values = np.random.default_rng(1).normal(size=(6, 5)).astype(kind)
    values[2] = values[2, 0]  # ties
    values[3, 1] = np.nan
    network = TensorInfo("y", dtype, ("batch", 5))
    labels = str(tmp_path / "names")
    for rows in (
        [{"softmax": {}}, {"argmax": {"labels": labels}}],
        [{"topk": {"k": 3, "labels": labels}}],
        [{"argmax": {}}],
        [{"threshold": {"above": 0.25}}],
    ):
        side = ensemble.after(rows, [network])
        assert side.left == ()
        expected = postprocess.prepare(rows, ["y"])({"y": values})
        made = run(side.model, {"raw_y": values})
        assert made.keys() == expected.keys()
        for name, wanted in expected.items():
            if wanted.dtype.kind == "f":
                np.testing.assert_allclose(made[name].astype(np.float32), wanted.astype(np.float32), rtol=1e-3)
            else:
                assert made[name].tolist() == wanted.tolist()


GRAY = {"channels": {"to": "gray"}}


@pytest.mark.parametrize(
    ("rows", "left", "channels"),
    [
        ([GRAY, {"channels": {"to": "rgb"}}, {"normalize": {"scale": 0.5}}], (), 3),
        ([GRAY, {"crop": {"size": [8, 8]}}, {"channels": {"to": "bgr"}}], ("channels", "crop"), 3),
        ([{"layout": {"to": "nchw"}}, {"crop": {"size": [8, 8]}}, {"normalize": {"mean": 3}}], ("crop",), 3),
    ],
)
def test_channels_and_axes_are_those_of_the_place(rows, left, channels) -> None:
    """Gray that becomes three channels again, before and after what the client does; an order of axes said early."""
    from trtconv.data import preprocess

    first = any("layout" in row for row in rows)
    network = TensorInfo("x", "float", ("batch", channels, 8, 8) if first else ("batch", 8, 8, channels))
    side = ensemble.before(rows, [network], "uint8")
    assert side.left == left
    sample = np.random.default_rng(2).integers(0, 256, (8, 8, 3), np.uint8)
    by_client = preprocess.prepare([row for row in rows[: len(rows) - 1] if next(iter(row)) in left])
    given = sample if by_client is None else by_client(sample)
    made = run(side.model, {"sample": given[None]})["prepared"][0]
    np.testing.assert_allclose(made, preprocess.prepare(rows)(sample), rtol=1e-6)


def test_what_onnx_cannot_say_is_left_to_the_client() -> None:
    image = TensorInfo("x", "float", ("batch", 3, 8, 8))
    rows = [{"normalize": {"scale": 2}}, {"resize": {"size": [8, 8]}}, {"layout": {"to": "nchw"}}]
    assert ensemble.before(rows, [image], "uint8") == ensemble.Side(left=("normalize", "resize", "layout"))
    after = ensemble.after([{"argmax": {}}, {"call": {"function": "a:b"}}], [CLASSES])
    assert (bool(after.model), after.left) == (True, ("call",))
    dense = TensorInfo("y", "float", ("batch", "c", "h", "w"))
    assert ensemble.after([{"argmax": {}}], [dense]).left == ("argmax",), "nothing tells the axis yet"


def test_scalars_reach_the_engine_as_scalars() -> None:
    """The model of the Python backend gives numbers without an axis to an input that has none, one per sample else."""
    from types import SimpleNamespace

    from trtconv.stages.export.python_model import TritonPythonModel

    given = {"x": np.ones((2, 4)), "s": np.float32([[3], [4]])}
    model = TritonPythonModel()
    tensors = {name: SimpleNamespace(as_numpy=lambda name=name: given[name]) for name in given}
    model._triton = SimpleNamespace(get_input_tensor_by_name=lambda _, name: tensors[name])
    model._inputs, model._scalars, model._batched = ["x", "s"], {"s"}, True
    assert model._feed(None)["s"].tolist() == [3, 4]
    given["s"], model._batched = np.float32([3]), False
    assert model._feed(None)["s"].shape == ()
    assert model._feed(None)["x"].shape == (2, 4)


def test_a_type_that_triton_has_no_name_for(tmp_path: Path) -> None:
    odd = TensorInfo("x", "float8e4m3fn", ("batch", 3))
    with pytest.raises(UsageError, match="float8e4m3fn, which Triton has no type for"):
        model_config.config("m", Interface((odd,), (CLASSES,)), Serving("tensorrt"))


@pytest.mark.rtx
def test_a_model_in_parts_goes_whole(tmp_path: Path, module_cli) -> None:
    """Its folder travels, and the Python backend runs it."""
    nodes = [helper.make_node("Gemm", ["x", "w"], ["f"]), helper.make_node("Erf", ["f"], ["y"])]
    save(
        tmp_path / "m.onnx",
        nodes,
        [numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")],
        shape=("batch", 4),
        output=("batch", 4),
    )
    built = module_cli(
        "build",
        "m.onnx",
        "-o",
        "m.parts",
        "--precision",
        "fp32",
        "--shapes",
        "x=1x4x8",
        "--on-refusal",
        "onnxruntime",
        cwd=tmp_path,
    )
    assert built.returncode == 0, built.stderr
    done = module_cli("export", "triton", "m.parts", "-o", "models", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (model,) = json.loads(done.stdout)["export"]["models"]
    assert model["backend"] == "python"
    inside = {str(p.relative_to(tmp_path / "m.parts")) for p in (tmp_path / "m.parts").rglob("*") if p.is_file()}
    assert {f"model.parts/{name}" for name in inside} <= {*model["files"]}
    refused = module_cli("export", "triton", "m.parts", "-o", "other", "--runtime", "onnxruntime", cwd=tmp_path)
    assert (refused.returncode, "--runtime python" in refused.stderr) == (2, True)
