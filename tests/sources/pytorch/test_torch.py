"""Networks of PyTorch to ONNX, in an interpreter that has PyTorch; ONNX Runtime against what PyTorch computed."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests import networks

HERE = Path(__file__).parent
KEYED = ("--input", "image:batch,3,8,8", "--input", "scale:batch")


@pytest.fixture
def convert(trtconv, torch_python, made, tmp_path):
    """``trtconv convert MODEL ARGS``: the process, and the file that it wrote."""
    shutil.copy(HERE / "nets.py", tmp_path)

    def call(model, *args, allow=True):
        allowed = ["--allow-code"] if allow else []
        model = made / model if (made / model).exists() else model
        done = trtconv("convert", model, "--python", torch_python, "-o", "net.onnx", *args, *allowed, "--json")
        return done, tmp_path / "net.onnx"

    return call


def result(done):
    assert done.returncode == 0, done.stderr
    (step,) = json.loads(done.stdout)["steps"]
    assert step["result"]["checked"], step["result"]["unchecked"]
    assert max(one["max_rel"] for one in step["result"]["checked"]) < 1e-5
    return step["result"]


def interface(result):
    return [[one["name"], one["dtype"], list(one["shape"])] for one in result["inputs"]]


def outputs(result):
    return [one["name"] for one in result["outputs"]]


def test_an_exported_program_keeps_names_keys_and_its_batch(convert, made):
    done, file = convert("keyed.pt2")
    found = result(done)
    assert interface(found) == [["image", "float", ["batch", 3, 8, 8]], ["scale", "float", ["batch"]]]
    assert [one["shape"][0] for one in found["outputs"]] == ["batch"] * 4
    with np.load(made / "keyed.npz") as known:
        session = onnxruntime.InferenceSession(file)
        feeds = {name: known[name] for name in ("image", "scale")}
        for name, array in zip(outputs(found), session.run(outputs(found), feeds), strict=True):
            assert np.abs(array - known[name]).max() < 1e-5
    assert outputs(found) == ["logits", "aux_features", "aux_parts_0", "aux_parts_1"]


@pytest.mark.parametrize("weights", ["keyed.pth", "keyed.safetensors", "whole"])
def test_a_function_with_weights_is_the_network_that_was_saved(convert, made, weights):
    if weights == "keyed.safetensors" and not (made / weights).exists():
        pytest.skip("safetensors is not installed beside PyTorch: pip install safetensors")
    model = ["whole.pth"] if weights == "whole" else ["nets:Keyed", "--weights", made / weights]
    done, file = convert(*model, *KEYED)
    found = result(done)
    with np.load(made / "keyed.npz") as known:
        feeds = {name: known[name] for name in ("image", "scale")}
        made_now = networks.run(onnx.load(file), feeds)
        assert max(np.abs(made_now[name] - known[name]).max() for name in outputs(found)) < 1e-5


def test_tokens_masks_and_a_length_that_varies(convert):
    done, file = convert("nets:words", "--input", "tokens:batch,length:int64", "--input", "mask:batch,length:bool")
    assert interface(result(done)) == [["tokens", "int64", ["batch", "length"]], ["mask", "bool", ["batch", "length"]]]
    session = onnxruntime.InferenceSession(file)
    for batch, length in ((1, 5), (7, 33)):
        feeds = {"tokens": np.ones((batch, length), np.int64), "mask": np.zeros((batch, length), bool)}
        assert session.run(None, feeds)[0].shape == (batch, 16)


@pytest.mark.parametrize("kind", ["bool", "float32"])
def test_attention_to_nothing_is_zero_as_in_pytorch(convert, kind):
    """PyTorch's exporter makes NaN of it."""
    done, file = convert("nets:Masked", "--input", "x:batch,2,n,4", "--input", f"mask:batch,1,n,n:{kind}")
    result(done)
    x = np.random.default_rng(0).normal(size=(2, 2, 3, 4)).astype(np.float32)
    mask = np.ones((2, 1, 3, 3), bool)
    mask[1, 0, 2] = False
    given = mask if kind == "bool" else np.where(mask, 0, -np.inf).astype(np.float32)
    made = onnxruntime.InferenceSession(file).run(None, {"x": x, "mask": given})[0]
    scores = np.where(mask, x @ x.transpose(0, 1, 3, 2) / 2, -np.inf)
    powers = np.exp(scores - np.where(np.isfinite(scores.max(-1)), scores.max(-1), 0)[..., None])
    total = powers.sum(-1, keepdims=True)
    wanted = np.where(total > 0, powers / np.where(total > 0, total, 1), 0) @ x
    assert np.abs(made - wanted).max() < 1e-5
    assert not made[1, :, 2].any()


@pytest.mark.parametrize("model", ["half.pt2", "nets:half"])
def test_bfloat16_weights_become_fp32(convert, model):
    done, file = convert(model, *(() if model == "half.pt2" else ("--input", "image:batch,3,8,8")))
    assert interface(result(done)) == [["image", "float", ["batch", 3, 8, 8]]]
    assert "bfloat16 are taken as float32" in done.stderr
    kinds = {tensor.data_type for tensor in onnx.load(file).graph.initializer}
    assert onnx.TensorProto.BFLOAT16 not in kinds
    assert onnx.TensorProto.FLOAT in kinds


def test_torchscript_with_a_loop_and_a_branch_says_which_exporter_it_took(convert):
    done, _ = convert("steps.pt", "--input", "x:batch,4", allow=False)
    assert outputs(result(done)) == ["out", "again"]
    assert "exported by torch.onnx.export(dynamo=False): torch.onnx.export(dynamo=True) does not take TorchScript" in (
        done.stderr
    )


def test_a_trace_keeps_its_arguments_name(convert):
    done, _ = convert("traced.pt", "--input", "image:batch,3,8,8", allow=False)
    assert interface(result(done)) == [["image", "float", ["batch", 3, 8, 8]]]


def test_what_is_no_tensor_is_left_out_and_channels_can_be_turned(convert):
    done, _ = convert("nets.py:Last", "--input", "image:batch,3,6,8", "--layout", "image=nchw")
    assert outputs(result(done)) == ["output_0", "output_3_image"]
    assert interface(result(done)) == [["image", "float", ["batch", 3, 6, 8]]]
    assert "output 'output_2' is a int" in done.stderr


def test_a_program_of_fixed_sizes_is_exported_again_for_a_batch_that_varies(convert):
    assert interface(result(convert("static.pt2")[0])) == [["image", "float", [2, 3, 8, 8]]]
    done, file = convert("static.pt2", "--input", "image:batch,3,8,8")
    assert interface(result(done)) == [["image", "float", ["batch", 3, 8, 8]]]
    session = onnxruntime.InferenceSession(file)
    assert session.run(None, {"image": np.ones((5, 3, 8, 8), np.float32)})[0].shape == (5, 4, 6, 6)


def test_every_dimension_may_vary(convert):
    done, file = convert("nets:Whole", "--input", "x:batch,count")
    result(done)
    x = np.arange(40, dtype=np.float32).reshape(5, 8)
    (made,) = onnxruntime.InferenceSession(file).run(None, {"x": x})
    assert (made == x.reshape(5, 4, 2)[:, :, ::-1].reshape(5, 8)).all()


def test_a_length_that_only_torch_export_fixes_goes_the_older_way_and_says_so(convert):
    done, file = convert("nets:Recurrent", "--input", "x:batch,length,4")
    assert outputs(result(done)) == ["all", "hidden", "cell"]
    assert "exported by torch.onnx.export(dynamo=False): torch.export fixes dimension 1 (length)" in done.stderr
    session = onnxruntime.InferenceSession(file)
    for batch, length in ((1, 5), (4, 33)):
        made, _, _ = session.run(None, {"x": np.ones((batch, length, 4), np.float32)})
        assert made.shape == (batch, length, 8)


def test_a_branch_that_stays_one_has_named_dimensions(convert):
    done, _ = convert("nets:Either", "--input", "x:batch,4")
    assert [one["shape"] for one in result(done)["outputs"]] == [["batch", 4]]


def test_names_stay_apart_and_keywords_are_inputs(convert):
    done, _ = convert("nets:Odd", "--input", "x:batch,4", "--input", "y:batch,4")
    assert [one[0] for one in interface(result(done))] == ["x", "y"]
    assert outputs(result(done)) == ["output_0", "output_1", "output_2", "output_3_x"]


def test_random_numbers_are_not_compared_and_that_is_said(convert):
    done, _ = convert("nets:Noisy", "--input", "x:batch,4")
    assert done.returncode == 0, done.stderr
    assert "not compared with the source: operator 'randn_like' draws random numbers" in done.stderr


X = ("--input", "x:batch,12")


@pytest.mark.parametrize(
    ("model", "args", "code", "said"),
    [
        ("training.pt2", (), 3, "works as in training"),
        ("nets:Dropping", X, 3, "works as in training"),
        ("nets:Branch", X, 3, "replace Python branches"),
        ("nets:Fixed", X, 3, "the network's code fixes dimension 0 (batch) of input 'x' to 3: it cannot vary"),
        ("nets:Spectrum", X, 3, "output 'output' is of type complex64"),
        ("nets:raising", X, 3, "raised ValueError: no such luck"),
        ("nets:number", X, 3, "gives int, not a torch.nn.Module"),
        ("nets:asking", X, 3, "called without arguments"),
        ("nets:absent", X, 3, "has no attribute 'absent'"),
        ("no_such_module:make", X, 3, "No module named 'no_such_module'"),
        ("nets:Keyed", (), 2, "the shape of 'image', 'scale' is not known"),
        ("nets:Keyed", X, 2, "the network has no input 'x'; it has image, scale"),
        ("nets:Keyed", ("--input", "image:batch,3", "--input", "scale:batch"), 3, "does not run on image float"),
        ("keyed.pt2", ("--input", "image:batch,3,8"), 2, "has 3 dimensions, the program's input has 4"),
        ("nets:Keyed", (*KEYED, "--weights", "another.pth"), 3, "head.weight [5, 8] is missing"),
        ("nets:Keyed", (*KEYED, "--weights", "whole.pth"), 3, "it names nets.Keyed, which is code"),
        ("nets:Keyed", (*KEYED, "--weights", "steps.pt"), 3, "it is TorchScript"),
    ],
)
def test_what_cannot_be_is_told_with_what_to_do(convert, made, model, args, code, said):
    args = [made / arg if str(arg).endswith((".pth", ".pt")) else arg for arg in args]
    done, file = convert(model, *args)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "next:" in done.stderr
    assert "Traceback" not in done.stderr
    assert not file.exists()


def test_a_forged_program_runs_nothing_without_permission(convert, made, tmp_path):
    ran, forged = tmp_path / "ran", tmp_path / "forged.pt2"
    with zipfile.ZipFile(made / "keyed.pt2") as whole, zipfile.ZipFile(forged, "w") as copy:
        for name in whole.namelist():
            data = whole.read(name)
            if name.endswith("models/model.json"):
                command = rb"__import__('pathlib').Path('%s').touch() or \g<0>" % str(ran).encode()
                data = re.sub(rb"Symbol\('\w+', positive=True, integer=True\)", command, data)
            copy.writestr(name, data)
    done, _ = convert(forged, allow=False)
    assert done.returncode == 3
    assert "allow it with --allow-code" in done.stderr
    assert not ran.exists()
    convert(forged)
    assert ran.exists()  # this is what the permission is for


JOB = """
version: 1
source: {path: nets:Keyed, weights: WEIGHTS, python: PYTHON}
inputs:
  image: {shape: [batch, 3, 8, 8]}
  scale: {shape: [batch]}
precision: fp32
build: {backend: rtx, targets: [sm86]}
verify: {data: {path: samples.npz}}
"""


@pytest.mark.rtx
def test_a_job_goes_to_an_engine_and_is_compared_with_pytorch(trtconv, torch_python, made, tmp_path):
    shutil.copy(HERE / "nets.py", tmp_path)
    random = np.random.default_rng(4)
    images, scales = random.normal(size=(20, 3, 8, 8)), random.normal(size=20)
    np.savez(tmp_path / "samples.npz", image=images.astype(np.float32), scale=scales.astype(np.float32))
    text = JOB.replace("WEIGHTS", str(made / "keyed.pth")).replace("PYTHON", str(torch_python))
    (tmp_path / "job.yaml").write_text(text)
    done = trtconv("run", "job.yaml", "--allow-code", "--json")
    assert done.returncode == 0, done.stderr
    steps = {step["name"]: step for step in json.loads(done.stdout)["steps"]}
    assert steps["reference"]["result"]["framework"].startswith("PyTorch ")
    assert "build[fp32]" in steps
    assert "torch:" in (tmp_path / "job.lock.yaml").read_text()
    with (tmp_path / "nets.py").open("a") as code:
        code.write("# changed\n")
    planned = json.loads(trtconv("plan", "job.yaml", "--allow-code", "--json").stdout)["steps"]
    assert {step["name"]: step["why"] for step in planned}["convert"] == "input changed: nets.py"
