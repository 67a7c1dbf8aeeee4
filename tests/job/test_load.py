"""Job files: what is accepted, and what is said about the rest."""

from __future__ import annotations

import os
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from trtconv.core.errors import JobError
from trtconv.core.records import TensorInfo
from trtconv.job.emit import text
from trtconv.job.load import load_job, validate
from trtconv.job.schema import Job
from trtconv.job.section import Section, keys, kinds
from trtconv.job.yaml_tree import PATH_KEYS, read
from trtconv.pipeline import sections
from trtconv.pipeline.matrix import Cell

MINIMAL = "version: 1\nsource: {path: model.onnx}\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    (tmp_path / "data.npz").write_bytes(b"")
    return tmp_path


def load(folder, text, *assignments):
    path = folder / "job.yaml"
    path.write_text(text)
    return load_job(path, assignments)


def problems(folder, text, *assignments):
    with pytest.raises(JobError) as caught:
        load(folder, text, *assignments)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return [line.replace(f"{folder}/", "") for line in caught.value.message.splitlines()]


def test_defaults_and_relative_paths(folder):
    job = load(folder, MINIMAL + "output: ../out\n")
    assert job.name == "job"
    assert job.source.path == folder / "model.onnx"
    assert job.output == folder.parent / "out"
    assert load(folder, MINIMAL).output == folder / "build" / "job"
    assert job.precision == ["fp32"]


def test_one_word_is_a_list_of_one(folder):
    job = load(folder, MINIMAL + "precision: fp16\nbench: {batch: 4, duration: 200ms}\nbuild: {workspace: 1GiB}\n")
    assert job.precision == ["fp16"]
    assert job.bench.batch == [4]
    assert job.bench.duration == 0.2
    assert job.build.workspace == 2**30


def test_numbers_with_exponents_are_numbers(folder):
    (folder / "data.npz").write_bytes(b"")
    text = MINIMAL + "verify: {data: {path: data.npz}, tolerance: {fp16: 1e-3, int8: 5E+0}}\n"
    assert load(folder, text).verify.tolerance == {"fp16": 1e-3, "int8": 5.0}
    assert load(folder, text, "verify.tolerance.fp16=2e-3").verify.tolerance["fp16"] == 2e-3


def test_assignments_override_and_add(folder):
    job = load(folder, MINIMAL + "precision: [fp32, fp16]\n", "precision=[fp16]", "build.workspace=2GiB", "bench={}")
    assert job.precision == ["fp16"]
    assert job.build.workspace == 2**31
    assert job.bench.batch == [1]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("modle.onnx", "no such file or folder: modle.onnx; did you mean 'model.onnx'?"),
        ("exprt/model.onnx", "no such file or folder: exprt/model.onnx (exprt is not there); did you mean 'export'?"),
        ("weights.pb", "no such file or folder: weights.pb"),
        ("model.onnx/a.onnx", "no such file or folder: model.onnx/a.onnx"),
    ],
)
def test_a_path_that_is_not_there_names_what_is_near(folder, path, said):
    (folder / "export").mkdir()
    (found,) = problems(folder, MINIMAL.replace("model.onnx", path))
    assert found.partition("source.path: ")[2] == said


def test_all_problems_at_once_with_places(folder):
    text = """\
version: 1
source: {path: modle.onnx}
precison: [fp16]
inputs:
  image: {shape: [batch, 8.5], profile: {min: 4, opt: 2, max: 8}}
bench:
  batch: one
  duration: [3]
  semantics: trtexec12
"""
    assert problems(folder, text) == [
        "job.yaml:2:16: source.path: no such file or folder: modle.onnx; did you mean 'model.onnx'?",
        "job.yaml:3:1: unknown key 'precison'; expected version, name, output, source, operators, plugins, inputs, "
        "convert, precision, matrix, calibrate, lower, build, verify, infer, bench, export, gates; "
        "did you mean 'precision'?",
        "job.yaml:5:18: inputs.image.shape: expected a positive size, -1, or a name such as batch as a dimension, "
        "got 8.5",
        "job.yaml:5:41: inputs.image.profile: expected min <= opt <= max, got [4], [2], [8]",
        'job.yaml:7:10: bench.batch: expected a whole number, got "one"',
        "job.yaml:8:13: bench.duration: expected a duration such as 200ms or 3s",
        "job.yaml:9:14: bench.semantics: unknown value 'trtexec12'; expected trtexec10, trtexec11, app, pipelined; "
        "did you mean 'trtexec11'?",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version: 1\n", "job.yaml:1:1: source: this key is required"),
        ("version: 2\nsource: {path: model.onnx}\n", "job.yaml:1:10: version: unknown value 2; expected 1"),
        (MINIMAL + "source: {path: model.onnx}\n", "job.yaml:3:1: key 'source' is given twice"),
        (MINIMAL + "precision: [fp16, fp61]\n", "job.yaml:3:19: precision.1: unknown value 'fp61'; expected fp32, "),
        (MINIMAL + "precision: int8\n", "job.yaml:3:12: precision: int8 needs a calibrate section"),
        (MINIMAL + "calibrate: {}\n", "job.yaml:3:12: calibrate: expected one of data"),
        (MINIMAL + "build: {workspace: 0}\n", "job.yaml:3:20: build.workspace: input should be greater than 0, got 0"),
        (MINIMAL + "convert: {clean: 1}\n", "job.yaml:3:18: convert.clean: expected true or false, got 1"),
        (MINIMAL + "convert: fast\n", 'job.yaml:3:10: convert: expected a mapping, got "fast"'),
        ("- a\n", "job.yaml:1:1: expected a mapping that begins with version: 1"),
        ("a: [1\nb: 2\n", "job.yaml:2:2: not valid YAML: "),
        ("", "job.yaml:1:1: expected a mapping that begins with version: 1"),
        (
            'version: "1"\nsource: {path: model.onnx}\n',
            "job.yaml:1:10: version: unknown value '1'; expected 1; without",
        ),
        (MINIMAL + "? [a, b]\n: c\n", "job.yaml:3:3: a key must be a word"),
        (MINIMAL + "build: {<<: 3}\n", "job.yaml:3:13: <<: expected a mapping, or a list of them"),
        (MINIMAL + "gates: &g [*g]\n", "job.yaml:3:8: aliases make this file endless"),
        (MINIMAL + "build: &b {<<: *b}\n", "job.yaml: nested too deep, or an alias stands inside its own anchor"),
        (MINIMAL + "gates: " + "[" * 3000 + "]" * 3000, "job.yaml: nested too deep"),
        (MINIMAL + "name: !!python/object:os.system x\n", "job.yaml:3:7: not a plain value: "),
    ],
)
def test_single_problems(folder, text, expected):
    found = problems(folder, text)
    assert any(line.startswith(expected) for line in found), found


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("precision=fp61", "--set precision=fp61: precision: unknown value 'fp61'"),
        ("build.workspce=1", "--set build.workspce=1: unknown key 'workspce'; expected backend, workspace, "),
        ("build", "--set build: expected KEY.KEY=VALUE"),
        ("version.x=1", "--set version.x=1: version is not a mapping"),
        ("build=[", "--set build=[: the value is not valid YAML"),
    ],
)
def test_assignments_are_the_place_of_their_problems(folder, assignment, expected):
    assert problems(folder, MINIMAL, assignment)[0].startswith(expected)


def test_aliases_of_aliases_are_not_written_out_for_ever(folder):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    found = problems(folder, MINIMAL + "\n".join(lines) + "\n")
    assert len(found) == 1
    assert "aliases make this file endless" in found[0]


def test_merge_keys_fill_in_what_a_mapping_does_not_say_itself(folder):
    (folder / "a.npz").write_bytes(b"")
    job = load(
        folder,
        MINIMAL
        + "calibrate: {data: &data {path: a.npz, samples: 8}}\n"
        + "verify: {data: {<<: *data, samples: 4, labels: labels}}\n"
        + "infer: {data: {samples: 2, <<: [{labels: mine}, *data]}}\n",
    )
    assert (job.verify.data.path, job.verify.data.samples, job.verify.data.labels) == (folder / "a.npz", 4, "labels")
    assert (job.infer.data.path, job.infer.data.samples, job.infer.data.labels) == (folder / "a.npz", 2, "mine")
    assert problems(folder, MINIMAL + "build: &b {workspace: big}\nbench: {<<: *b}\n")[:1] == [
        "job.yaml:3:12: unknown key 'workspace'; expected batch, semantics, warmup, duration, iterations, "
        "streams, percentiles, data, transfers, spin, cuda_graph, depth, repeats, rate, layers, tune, max_latency, "
        "against, against_device, backend, device_api, weight_streaming_budget, lean_runtime"
    ]


def test_job_files_are_utf8_wherever_they_are_read(folder):
    (folder / "job.yaml").write_text(MINIMAL + "# größe\n", encoding="utf-8")
    code = "from pathlib import Path; from trtconv.job.load import load_job; print(load_job(Path('job.yaml')).name)"
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout == "job\n", done.stderr


def test_a_job_is_the_same_from_any_folder(folder, monkeypatch):
    (folder / "job.yaml").write_text(MINIMAL)
    (folder / "jobs" / "deep").mkdir(parents=True)
    (folder / "link").symlink_to("jobs/deep")
    monkeypatch.chdir(folder / "jobs")
    found = [load_job(Path(name)) for name in ("../job.yaml", f"{folder}/job.yaml", "../link/../../job.yaml")]
    assert found[0] == found[1] == found[2]
    assert found[0].output == folder / "build/job"


def test_the_folder_of_the_job_may_be_the_model(folder):
    (folder / "job.yaml").write_text("version: 1\nsource: {path: .}\n")
    assert load_job(folder / "job.yaml").source.path == folder


def test_missing_job_file_names_the_nearest(folder):
    (folder / "digits.yaml").write_text(MINIMAL)
    with pytest.raises(JobError, match="no such job file") as caught:
        load_job(folder / "digit.yaml")
    assert "digits.yaml" in caught.value.hint


def test_what_to_do_about_files_that_are_not_there(folder):
    for source, said in (("{path: gone.onnx}", "make the files first"), ("{path: gone.onnx, paht: 1}", "schema")):
        (folder / "job.yaml").write_text(f"version: 1\nsource: {source}\n")
        with pytest.raises(JobError) as caught:
            load_job(folder / "job.yaml")
        assert said in caught.value.hint


def test_every_key_is_described():
    def undescribed(model, path):
        for name, kind in kinds(model).items():
            nested = [part for part in leaves(kind) if isinstance(part, type) and issubclass(part, Section)]
            if not nested and not keys(model)[name].description:
                yield f"{path}.{name}"
            for section in nested:
                yield from undescribed(section, f"{path}.{name}")

    assert list(undescribed(Job, "job")) == []


def test_environment_variables_have_the_type_of_what_they_hold(folder, monkeypatch):
    monkeypatch.setenv("TEST_BATCH", "4")
    monkeypatch.delenv("TEST_NOT_SET", raising=False)
    job = load(folder, MINIMAL + "bench:\n  batch: ${TEST_BATCH}\n  duration: ${TEST_NOT_SET:-20}0ms\n")
    assert job.bench.batch == [4]
    assert job.bench.duration == 0.2
    assert problems(folder, MINIMAL + "bench:\n  batch: ${TEST_NOT_SET}\n")[0].startswith(
        "job.yaml:4:10: the environment variable TEST_NOT_SET is not set"
    )
    assert problems(folder, MINIMAL + "bench:\n  batch: '${TEST_BATCH}'\n") == [
        'job.yaml:4:10: bench.batch: expected a whole number, got "4"'
    ]


def test_extends_merges_mappings_and_keeps_paths_relative_to_their_file(folder):
    base = folder / "shared"
    base.mkdir()
    (base / "samples.npz").write_bytes(b"")
    (base / "base.yaml").write_text(
        "version: 1\nprecision: [fp32, fp16]\nbuild: {workspace: 1GiB, backend: rtx}\n"
        "calibrate: {data: {path: samples.npz, labels: labels}}\n"
    )
    job = load(
        folder, "extends: shared/base.yaml\nsource: {path: model.onnx}\nprecision: int8\nbuild: {workspace: 2GiB}\n"
    )
    assert job.precision == ["int8"]
    assert (job.build.workspace, job.build.backend) == (2**31, "rtx")
    assert job.calibrate.data.path == base / "samples.npz"
    assert job.calibrate.data.labels == "labels"


def test_an_interpreter_of_an_extended_file_is_a_path_there_or_a_program(folder, monkeypatch):
    (folder / "shared/env/bin").mkdir(parents=True)
    (folder / "shared/env/bin/python3.99").write_text("")
    (folder / "shared/env/bin/python3.99").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder / "shared/env/bin"))
    for said, meant in (("./env", "env"), ("no/env", "no/env"), ("python3.99", "env/bin/python3.99")):
        (folder / "shared/base.yaml").write_text(f"source: {{python: {said}}}\n")
        job = load(folder, "extends: shared/base.yaml\nsource: {path: model.onnx}\nversion: 1\n")
        assert job.source.python == folder / "shared" / meant


def test_problems_of_extended_files_point_there(folder):
    (folder / "base.yaml").write_text("version: 1\nbuild: {workspace: big}\nprecison: fp16\n")
    assert problems(folder, "extends: base.yaml\nsource: {path: model.onnx}\nbench: {batch: x}\n") == [
        "base.yaml:2:20: build.workspace: expected a size such as 512MiB or 1GiB, got 'big'",
        "base.yaml:3:1: unknown key 'precison'; expected version, name, output, source, operators, plugins, inputs, "
        "convert, precision, matrix, calibrate, lower, build, verify, infer, bench, export, gates; "
        "did you mean 'precision'?",
        'job.yaml:3:16: bench.batch: expected a whole number, got "x"',
    ]


def test_circles_and_missing_bases(folder):
    (folder / "base.yaml").write_text("extends: job.yaml\n")
    assert problems(folder, "extends: base.yaml\n") == ["base.yaml:1:10: extends: job.yaml extends this file in turn"]
    assert problems(folder, "extends: bsae.yaml\n") == ["job.yaml:1:10: extends: no such job file: bsae.yaml"]


def leaves(annotation):
    """The types that a type is made of."""
    inner = typing.get_args(annotation)
    return [leaf for part in inner for leaf in leaves(part)] if inner else [annotation]


def test_every_path_of_the_schema_is_rebased():
    def paths(model):
        for name, kind in kinds(model).items():
            parts = leaves(kind)
            if Path in parts:
                yield name
            for section in [part for part in parts if isinstance(part, type) and issubclass(part, Section)]:
                yield from paths(section)

    assert set(paths(Job)) <= set(PATH_KEYS)
    assert {"path", "output", "cache"} <= set(paths(Job))


@pytest.mark.parametrize(
    "path", sorted(p for p in Path("configs").glob("*.yaml") if ".lock" not in p.name), ids=lambda path: path.name
)
def test_example_jobs_lack_nothing_but_their_data(path):
    tree = read(path)
    text = []
    try:
        validate(tree, path.parent, path.stem)
    except JobError as error:
        text = error.message.splitlines()
    assert [line for line in text if "no such file or folder" not in line] == []


def test_a_profile_may_begin_at_nothing(folder):
    text = MINIMAL + "inputs:\n  past: {profile: {min: [1, 0, 8], opt: [1, %s, 8], max: [1, 16, 8]}}\n"
    (folder / "job.yaml").write_text(text % 5)
    assert load_job(folder / "job.yaml").inputs["past"].profile[0].min == [1, 0, 8]
    assert "only min may hold 0, got opt [1, 0, 8]" in problems(folder, text % 0)[0]


def test_an_input_may_have_several_profiles(folder):
    text = (
        MINIMAL + "inputs:\n  a: {profile: [{min: 1, opt: 1, max: 1}, {min: 2, opt: 8, max: 9}]}\n  b: {profile: %s}\n"
    )
    one = "{min: 1, opt: 4, max: 16}"
    job = load(folder, text % one)
    assert [profile.opt for profile in job.inputs["a"].profile] == [[1], [8]]
    found = sections.ranges(Cell("fp32", "fp32", job).profiles(()), (TensorInfo("a", "float", ("n", 3)),))
    assert [(each["a"].optimum, each["b"].maximum) for each in found] == [((1, 3), (16,)), ((8, 3), (16,))]
    assert problems(folder, text % f"[{one}, {one}, {one}]") == [
        "job.yaml:4:3: inputs: as many profiles are expected of each input with several, got {'a': 2, 'b': 3}"
    ]
    assert problems(folder, text % "[]")[0].startswith("job.yaml:5:16: inputs.b.profile: expected 1 or more items")


PATHS = """
version: 1
output: out
source: {path: model.onnx, python: python3}
operators: {"my::Op": op.onnx, "com.microsoft::Gelu": keep}
plugins: [{python: "mine:creator"}]
calibrate: {cache: given.cache}
verify: {data: {path: data.npz, labels: truth}}
infer:
  data: {path: data.npz, labels: truth.npy}
  postprocess: [{softmax: {output: y}}, {topk: {k: 1, output: y, labels: names.txt}}]
export: {triton: {repository: served}}
"""


def test_a_job_written_elsewhere_is_the_same_job(folder, monkeypatch):
    """Paths keep their files; what only looks like one, such as an output of the model, stays as it is."""
    for name in ("op.onnx", "given.cache", "truth.npy", "names.txt", "mine.py"):
        (folder / name).write_text("a\nb\n")
    monkeypatch.chdir(folder)
    job = load(folder, PATHS)
    (folder / "below").mkdir()
    made = folder / "below/job.yaml"
    made.write_text(text(job.plain(given=True), made.parent))
    assert load_job(made).plain() == job.plain()
