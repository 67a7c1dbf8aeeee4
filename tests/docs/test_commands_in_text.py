"""Commands outside of ``console`` blocks run too, where the files are that they name, or it is said why they cannot.

``test_readme.py`` runs the blocks. Here a scene makes files and runs the commands that read them, in order; a command
that is in no scene has its place in ELSEWHERE, with the test that runs its like or the reason why none does.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pytest

from tests.docs.commands_in_text import PAGES, ROOT, commands
from tests.networks import images, residual_cnn
from tests.parts import block, node, save, weights
from trtconv.cli.main import COMMANDS, cli

Prepare = Callable[[Path], None]

SCENES: dict[str, tuple[Prepare, tuple[str, ...]]] = {}
"""Name -> what makes its files, and its commands."""

ELSEWHERE = {
    r"make .*": "test_make_targets: its dry run; the targets install packages, or take minutes",
    r"pip install .*": "test_extras: packages come from the network",
    r"trtconv inspect model.engine --prove": "tests/cli/test_proof.py; exit 5 without a GPU",
    r"trtconv build .*--plugin \S*libscale.so .*": "tests/engines/build/test_plugins.py, where CUDA's compiler is",
    r"python scripts/compile_plugin.py .*": "tests/engines/build/test_plugins.py, where CUDA's compiler is",
    r"trtconv build .*--plugin scale_plugin:creator .*": "tests/engines/build/test_plugins.py",
    r"trtconv refit stripped.engine .*": "tests/cli/test_refit.py; TensorRT-RTX strips no engines without a GPU",
    r"ray (start|stop).*": "tests/pipeline/test_fleet.py, on a cluster of this machine",
    r"trtconv run (JOB|job.yaml) --fleet ray": "tests/pipeline/test_fleet.py",
    r"tritonserver .*": "tests/stages/test_triton_server.py, with a server in an environment of its own",
    r"python3 -m venv old .*": "tests/cli/test_upgrade.py; packages come from the network",
    r"trtconv upgrade configs/digits.yaml .*": "tests/cli/test_upgrade.py",
    r"trtconv convert net.py .*--weights lenet.pth": "tests/sources/test_weights.py; needs PyTorch",
    r"trtconv convert (net.pt2|nets:.*|traced.pt) .*": "tests/sources/pytorch/test_torch.py; needs PyTorch",
    r"python configs/tiny_resnet.py": "tests/sources/pytorch/test_example.py; needs PyTorch",
    r"trtconv run configs/pytorch.yaml --allow-code": "tests/sources/pytorch/test_example.py; needs PyTorch",
    r"python configs/classic_networks.py .*": "tests/sources/pytorch/test_timing.py; needs PyTorch",
    r"trtconv run configs/classic.yaml --allow-code": "tests/sources/pytorch/test_timing.py; needs PyTorch",
    r"trtconv convert inference.json --python .*": "tests/sources/paddle/test_convert.py; needs Paddle",
    r"python -m tf2onnx.convert": "the other side of a comparison; benchmarks/convert.py runs it",
    r"python scripts/convert_zoo.py NAME ...": "tests/scripts/test_convert_zoo.py",
    r"python scripts/zoo_against.py COMMIT": "tests/scripts/test_strict_engine.py",
    r"trtconv run configs/network.yaml --allow-code": "tests/sources/network/test_scripts.py",
    r"python scripts/train_digits.py": "tests/conftest.py, for every test of the digits",
    r"trtconv (run|check) configs/digits.yaml": "tests/docs/test_readme.py",
    r"trtconv export triton .*": "tests/docs/test_readme.py",
    r"trtconv check configs/streaming.yaml": "tests/docs/test_readme.py has its like; needs the digits",
    r"trtconv run configs/streaming.yaml": "tests/cli/test_build_features.py; weights stream on a GPU alone",
}
"""Whole commands, as regular expressions -> the test that runs the like, or why none can."""


def scene(name: str, *lines: str) -> Callable[[Prepare], Prepare]:
    def keep(prepare: Prepare) -> Prepare:
        SCENES[name] = prepare, lines
        return prepare

    return keep


@scene(
    "script",
    "trtconv inspect net.py",
    "trtconv convert net.py -o net.onnx --allow-code",
    "trtconv convert net.py --allow-code --emit-job job.yaml",
    "trtconv inspect configs/lenet_network.py",
    "trtconv convert configs/lenet_network.py --allow-code --emit-job job.yaml",
)
def script(folder: Path) -> None:
    (folder / "configs").mkdir()
    shutil.copy(ROOT / "configs/lenet_network.py", folder / "configs")
    shutil.copy(ROOT / "configs/lenet_network.py", folder / "net.py")


@scene(
    "operator", "trtconv build net.onnx -o net.engine --precision fp16 --operator my.domain::QuickGelu=quickgelu.txt"
)
def operator(folder: Path) -> None:
    page = (ROOT / "docs/custom_layers.md").read_text()
    (written,) = re.findall(r"```\n(<domain: \"my.domain\".*?)```", page, re.DOTALL)
    (folder / "quickgelu.txt").write_text(written)
    made = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17, "my.domain" : 1]> net (float[batch, 4] x) => (float[batch, 4] y)'
        "{ y = my.domain.QuickGelu <alpha = 1.5> (x) }"
    )
    onnx.save(made, folder / "net.onnx")


@scene(
    "parts",
    "trtconv check job.yaml",
    "trtconv plan job.yaml",
    "trtconv build detector.onnx -o detector.parts --on-refusal onnxruntime",
    "trtconv inspect detector.parts",
    "trtconv verify detector.onnx detector.parts --data samples.npz",
    "trtconv infer detector.parts --data samples.npz -o results.npz",
)
def parts(folder: Path) -> None:
    nodes = [*block("x", "a", "w1"), node("Det", ["a"], "b"), node("Relu", ["b"], "y")]
    save(folder / "detector.onnx", nodes, {"y": 1}, {"w1": weights(8, 3, 3, 3), "w2": weights(8, 8, 3, 3)})
    np.savez(folder / "samples.npz", x=np.random.default_rng(0).random((4, 3, 8, 8), np.float32))
    (folder / "job.yaml").write_text("version: 1\nsource: {path: detector.onnx}\nbuild: {fallback: onnxruntime}\n")


@scene(
    "job",
    "trtconv run job.yaml",
    "trtconv run JOB",
    "trtconv run JOB --locked",
    "trtconv run JOB --set matrix.target=[sm86]",
    "trtconv inspect MODEL",
    "trtconv convert MODEL -o model.onnx",
    "trtconv cache ls",
    "trtconv cache gc",
    "python scripts/job_reference.py",
)
def job(folder: Path) -> None:
    onnx.save(residual_cnn(0), folder / "MODEL.onnx")
    (folder / "job.yaml").write_text("version: 1\nsource: {path: MODEL.onnx}\nmatrix: {target: [sm89]}\n")
    for name in ("scripts", "docs"):
        (folder / name).mkdir()
    shutil.copy(ROOT / "scripts/job_reference.py", folder / "scripts")


@scene(
    "again",
    "trtconv refit model.engine retrained.onnx -o new.engine",
    "trtconv refit model.engine retrained.typed.onnx -o new.engine --data heldout.npz",
)
def again(folder: Path) -> None:
    for seed, name in enumerate(("model", "retrained")):
        onnx.save(residual_cnn(seed), folder / f"{name}.onnx")
    np.savez(folder / "heldout.npz", image=images(8))
    shell("trtconv build model.onnx -o model.engine --precision fp16 --workspace 64MiB", folder)
    shell("trtconv lower retrained.onnx -o retrained.typed.onnx --precision fp16", folder)


@scene(
    "caffe",
    "python scripts/caffe_networks.py",
    "trtconv run configs/caffe.yaml",
    "trtconv convert deploy.prototxt --weights net.caffemodel -o model.onnx",
    "trtconv convert deploy.prototxt --weights net.caffemodel -o model.onnx --input data:batch,3,224,224",
    "trtconv trtexec --deploy=deploy.prototxt --model=net.caffemodel --output=prob --batch=16 --saveEngine=net.engine",
)
def caffe(folder: Path) -> None:
    for name in ("scripts", "configs"):
        shutil.copytree(ROOT / name, folder / name)
    sys.path.insert(0, str(ROOT / "scripts"))
    import caffe_networks as nets

    text = nets.head("pooled", 1, 3, 224, 224) + nets.conv("conv", "data", 4, 3)
    text += nets.layer("Pooling", "pool", "conv", "pool", "pooling_param { pool: AVE global_pooling: true }")
    nets.write(folder, "deploy", text + nets.layer("Softmax", "prob", "pool", "prob"))
    (folder / "deploy.caffemodel").rename(folder / "net.caffemodel")


@scene(
    "uff",
    "trtconv freeze MODEL -o frozen.pb",
    "trtconv uff frozen.pb -l",
    "trtconv uff frozen.pb -o lenet.onnx -O fc2/Relu -I Placeholder,image,float32,-1,28,28,1 -t",
    "trtconv uff frozen.pb -o lenet.onnx -O fc2/Relu -p preprocess.py --allow-code",
)
def uff(folder: Path) -> None:
    digits_graph(folder, "MODEL")
    (folder / "preprocess.py").write_text(
        "def preprocess(graph):\n"
        '    (reader,) = graph.find_nodes_by_name("fc2/MatMul")\n'
        '    reader.input[0] = "fc1/Relu"\n'
        '    graph.remove(graph.find_nodes_by_path("dropout"), remove_exclusive_dependencies=True)\n'
    )


@scene("dropout", "trtconv uff tensorflow --input-file frozen.pb -o lenet.uff -O fc2/Relu --constant keep_prob=1.0")
def dropout(folder: Path) -> None:
    digits_graph(folder, "frozen.pb")


def digits_graph(folder: Path, wanted: str) -> None:
    make = [sys.executable, str(ROOT / "tests/docs/digits_graph.py"), str(folder), wanted]
    subprocess.run(make, check=True, capture_output=True, env=environment(folder))


@scene(
    "paddle",
    "trtconv inspect build/paddle-model",
    "trtconv run configs/paddle.yaml",
    "trtconv convert inference_model/ -o model.onnx",
    "trtconv convert inference.pdmodel --weights inference.pdiparams -o model.onnx",
)
def paddle(folder: Path) -> None:
    from tests.sources.paddle.programs import perceptron

    (folder / "configs").mkdir()
    shutil.copy(ROOT / "configs/paddle.yaml", folder / "configs")
    for place in ("build/paddle-model", "inference_model"):
        perceptron(folder / place)
    program = perceptron(folder, "pdmodel")
    program.rename(folder / "inference.pdmodel")
    program.with_suffix(".pdiparams").rename(folder / "inference.pdiparams")


FAST = ("script", "operator", "job")
NEEDS = {"uff": pytest.mark.tf, "dropout": pytest.mark.tf, "paddle": pytest.mark.paddle}


def cases() -> Iterator[Any]:
    for name in SCENES:
        marks = [
            pytest.mark.rtx,
            *([] if name in FAST else [pytest.mark.slow]),
            *([NEEDS[name]] if name in NEEDS else []),
        ]
        yield pytest.param(name, marks=marks)


def environment(folder: Path) -> dict[str, str]:
    """``trtconv`` and ``python`` are those of this run; everything that is kept stays in the folder."""
    programs = folder / ".bin"
    if not programs.exists():
        programs.mkdir()
        for name, text in (("trtconv", "-m trtconv "), ("python", "")):
            (programs / name).write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {text}"$@"\n')
            (programs / name).chmod(0o755)
    places = {"TMPDIR": str(folder), "XDG_CACHE_HOME": str(folder / ".cache"), "COLUMNS": "200"}
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    packages = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, **places, **path, "PYTHONPATH": packages}


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    env = environment(folder)
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done


@pytest.mark.parametrize("name", [*cases()])
def test_scene(name: str, tmp_path: Path) -> None:
    prepare, lines = SCENES[name]
    prepare(tmp_path)
    for line in lines:
        words = line.replace("JOB", "job.yaml")
        shell(words.replace("MODEL", "MODEL.onnx") if (tmp_path / "MODEL.onnx").exists() else words, tmp_path)


def test_every_command_has_its_place() -> None:
    told = commands()
    run = {line for _, lines in SCENES.values() for line in lines}
    assert len(told) > 80
    assert [line for line in run if line not in told] == [], "these scenes show what no page does"
    open_ones = [line for line in told if line not in run and not _elsewhere(line)]
    assert open_ones == [], "put these into a scene, or say in ELSEWHERE why they do not run"
    unused = [rule for rule in ELSEWHERE if not any(re.fullmatch(rule, line) for line in told)]
    assert unused == []


def _elsewhere(line: str) -> str:
    return next((reason for rule, reason in ELSEWHERE.items() if re.fullmatch(rule, line)), "")


@pytest.mark.parametrize("reason", ELSEWHERE.values())
def test_reasons_name_tests_that_are_there(reason: str) -> None:
    assert [path for path in re.findall(r"(?:tests|benchmarks)/[\w/]+\.py", reason) if not (ROOT / path).exists()] == []


OURS = [line for line in commands() if line.startswith("trtconv ")]


@pytest.mark.parametrize("line", OURS)
def test_what_trtconv_is_told_is_parsed(line: str) -> None:
    """Right options with right kinds of values, and nothing missing."""
    _, name, *words = shlex.split(line)
    assert name in COMMANDS
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    if isinstance(command, click.Group):
        inner = command.get_command(click.Context(command), words.pop(0))
        assert inner is not None
        command = inner
    command.make_context(name, words)


def test_make_targets() -> None:
    targets = {word for line in commands() if line.startswith("make ") for word in line.split()[1:] if word[0] != "-"}
    assert len(targets) > 10
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_extras() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {
        name for line in commands() for found in re.findall(r"trtconv\[([\w,]+)\]", line) for name in found.split(",")
    }
    assert named
    assert named <= set(extras)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text()], ids=lambda page: page.name
)
def test_python_on_pages(page: Path) -> None:
    """It is Python, and what it imports is there; engines that it runs need a GPU (tests/gpu/test_engines.py)."""
    for code in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        for statement in ast.parse(code).body:
            if isinstance(statement, ast.ImportFrom):
                module = importlib.import_module(str(statement.module))
                assert [each.name for each in statement.names if not hasattr(module, each.name)] == []
