"""Gates: what fails a run, what is noise, what may not be compared."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from trtconv.core.errors import EnvironmentProblem, UsageError
from trtconv.core.records import Proof, Wider
from trtconv.job import gate_bounds
from trtconv.job.schema import Gate
from trtconv.job.section import read
from trtconv.pipeline import baseline, gates, machine_load
from trtconv.pipeline.results import plain, restore
from trtconv.pipeline.run import Step
from trtconv.pipeline.steps import Node
from trtconv.report import junit
from trtconv.stages.bench import BenchResult, Measurement
from trtconv.stages.build import BuildResult
from trtconv.stages.verify import Verdict, VerifyResult


def bench(p50, fastest, batch=8, runner="ONNX Runtime on CPU"):
    latency = {"mean": p50, "min": fastest, "max": 9 * p50, "p50": p50, "p99": 3 * p50}
    return BenchResult(runner, "", "trtexec11", (Measurement(batch, 100, 1e3 * batch / p50, latency),))


def step(stage, result, label="fp16", seconds=2.0):
    node = Node(f"{stage}[{label}]", stage, lambda _: None, (), label)
    return Step(node, "done", seconds, 100 << 20, result)


def build(size=1 << 20):
    return BuildResult(Path("e"), Path("e.json"), "rtx", "1.7", size, 3, (), ())


def verify(top1, violations=()):
    return VerifyResult(100, "TensorFlow", 98.0, (Verdict("typed ONNX", "r", (), top1),), violations)


def gate(**keys):
    made, problems = read(Gate, {name: str(v) if isinstance(v, Path) else v for name, v in keys.items()}, Path())
    assert made is not None, problems
    return made


def never(label):
    raise AssertionError("measured again without need")


@pytest.mark.parametrize(
    ("keys", "passed", "code"),
    [
        ({"measure": "engine_size", "max": "2MiB"}, True, 7),
        ({"measure": "engine_size", "max": "512KiB"}, False, 7),
        ({"measure": "build_time", "max": "1s"}, False, 7),
        ({"measure": "peak_memory", "max": "1GiB"}, True, 7),
        ({"measure": "accuracy_drop", "max": 0.5}, False, 6),
        ({"measure": "accuracy_drop", "max": 2}, True, 6),
    ],
)
def test_plain_bounds(keys, passed, code):
    steps = [step("build", build()), step("verify", verify(97.0))]
    found = {v.name: v for v in gates.judge([gate(**keys)], steps, never)}
    verdict = found[f"{keys['measure']}[fp16]"]
    assert (verdict.passed, verdict.exit_code) == (passed, code)


def test_violations_of_verify_are_gates_of_their_own():
    (verdict,) = gates.judge([], [step("verify", verify(97.0, ("differs by 3",)))], never)
    assert (verdict.passed, verdict.exit_code, verdict.said) == (False, 6, "differs by 3")


def test_a_missed_bound_is_measured_again_and_judged_on_the_best():
    again = iter([bench(5.0, 1.0), bench(1.8, 1.0)])
    keys = {"measure": "latency_p50", "max": "2ms"}
    (verdict,) = gates.judge([gate(**keys)], [step("bench", bench(4.0, 1.0))], lambda _: next(again))
    assert verdict.passed
    assert "1.8 ms (best of 3)" in verdict.said
    assert next(again, None) is None
    (verdict,) = gates.judge([gate(**keys)], [step("bench", bench(4.0, 3.0))], lambda _: bench(3.5, 3.0))
    assert not verdict.passed
    assert verdict.exit_code == 7


@pytest.fixture
def kept(tmp_path):
    path = tmp_path / "base.json"
    baseline.write(path, {"fp16": [bench(2.2, 1.1), bench(2.0, 1.0), bench(2.4, 1.2)]}, [])
    return path


def test_a_baseline_keeps_the_best_of_its_repeats(kept):
    figures = json.loads(kept.read_text())["engines"]["fp16"]["measurements"]["8"]
    assert figures == {"latency_p50": 2.0, "latency_p99": 6.0, "latency_min": 1.0, "throughput": 4000.0}


@pytest.mark.parametrize("measure", ["latency_p50", "throughput"])
def test_a_slower_median_with_an_unchanged_fastest_query_is_noise(kept, measure):
    noisy = step("bench", bench(6.0, 1.05))
    (verdict,) = gates.judge([gate(measure=measure, baseline=kept)], [noisy], never)
    assert verdict.passed
    assert "the rest is noise" in verdict.said
    slower = step("bench", bench(3.0, 1.5))
    (verdict,) = gates.judge([gate(measure=measure, baseline=kept)], [slower], lambda _: bench(2.9, 1.4))
    assert not verdict.passed


def test_what_other_programs_cost_is_taken_off(kept, monkeypatch):
    raw = json.loads(kept.read_text())
    raw["control"] = {"latency_p50": 1.0, "latency_p99": 1.0, "latency_min": 1.0, "throughput": 1000.0}
    kept.write_text(json.dumps(raw))
    busy = {"latency_p50": 2.0, "latency_p99": 2.0, "latency_min": 2.0, "throughput": 500.0}
    monkeypatch.setattr(machine_load, "figures", lambda: busy)
    keys = {"measure": "throughput", "baseline": kept}
    twice, thrice = bench(4.1, 2.05), bench(6.0, 3.0)
    (verdict,) = gates.judge([gate(**keys)], [step("bench", twice)], lambda _: twice)
    assert verdict.passed
    (verdict,) = gates.judge([gate(**keys)], [step("bench", thrice)], lambda _: thrice)
    assert not verdict.passed


def test_tails_are_judged_by_themselves(kept):
    tail = dataclasses.replace(bench(2.0, 1.0).measurements[0], latency_ms={"p50": 2.0, "p99": 9.0, "min": 1.0})
    result = dataclasses.replace(bench(2.0, 1.0), measurements=(tail,))
    (verdict,) = gates.judge([gate(measure="latency_p99", baseline=kept)], [step("bench", result)], lambda _: result)
    assert not verdict.passed


def test_unlike_things_are_refused(kept):
    keys = {"measure": "throughput", "baseline": kept}
    with pytest.raises(EnvironmentProblem, match="measured with runner"):
        gates.judge([gate(**keys)], [step("bench", bench(2.0, 1.0, runner="TensorRT-RTX on H200"))], never)
    with pytest.raises(UsageError, match="nothing was measured for fp16 at batch 4"):
        gates.judge([gate(**keys)], [step("bench", bench(2.0, 1.0, batch=4))], never)
    raw = json.loads(kept.read_text())
    raw["alike"]["gpu"] = "another"
    kept.write_text(json.dumps(raw))
    with pytest.raises(EnvironmentProblem, match=r"other conditions: .*another"):
        gates.judge([gate(**keys)], [step("bench", bench(2.0, 1.0))], never)
    kept.write_text("{}")
    with pytest.raises(UsageError, match="not a baseline"):
        gates.judge([gate(**keys)], [step("bench", bench(2.0, 1.0))], never)


def test_a_gate_on_nothing_is_an_error():
    with pytest.raises(UsageError, match="applies to nothing"):
        gates.judge([gate(measure="engine_size", max=1, engine="int8")], [step("build", build())], never)


def test_junit_and_annotations_name_the_gate():
    verdicts = [
        gates.Verdict("throughput[fp16] at batch 8", False, "10 < 20 %", 7),
        gates.Verdict("a", True, "fine", 6),
    ]
    text = junit.junit("job.yaml", verdicts, [("build[int8]", "no INT8")])
    assert '<testsuite name="trtconv job.yaml" tests="3" failures="1" errors="1">' in text
    assert '<failure type="performance" message="10 &lt; 20 %" />' in text
    assert junit.github("job.yaml", verdicts, []) == (
        "::error file=job.yaml,title=throughput[fp16] at batch 8::10 < 20 %25"
    )


RECORDED = {
    "runner": "TensorRT-RTX 1.7.1.116 on NVIDIA H200",
    "fell_back": "",
    "semantics": "trtexec11",
    "measurements": [
        {
            "batch": 8,
            "queries": 30000,
            "throughput": 80000.0,
            "latency_ms": {"p50": 0.1, "p99": 0.12, "min": 0.09},
            "power": {
                "seconds": 3.0,
                "watts": 400.0,
                "joules": 1200.0,
                "joules_per_sample": 0.005,
                "samples_per_joule": 200.0,
            },
        }
    ],
}
"""A result as it is kept, of a GPU whose NVML tells its energy."""


def recorded(joules=0.005, **changes):
    result = restore("bench", {**RECORDED, **changes})
    power = {**result.measurements[0].power, "joules_per_sample": joules}
    measured = dataclasses.replace(result.measurements[0], power=power)
    return dataclasses.replace(result, measurements=(measured,))


@pytest.mark.parametrize(("bound", "passed"), [("6mJ", True), ("4mJ", False), (0.006, True), ("4000uJ", False)])
def test_energy_per_sample_is_bounded(bound, passed):
    keys = {"measure": "energy", "max": bound}
    (verdict,) = gates.judge([gate(**keys)], [step("bench", recorded())], lambda _: recorded())
    assert (verdict.passed, verdict.exit_code, verdict.name) == (passed, 7, "energy[fp16] at batch 8")
    assert "0.005 J/sample" in verdict.said


def test_energy_is_compared_with_a_baseline_and_a_fast_query_excuses_nothing(tmp_path):
    path = tmp_path / "base.json"
    baseline.write(path, {"fp16": [recorded(0.006), recorded(0.005)]}, [])
    wanted = [gate(measure="energy", baseline=path)]
    for joules, passed in ((0.0054, True), (0.0056, False)):
        (verdict,) = gates.judge(wanted, [step("bench", recorded(joules))], lambda _, j=joules: recorded(j))
        assert verdict.passed == passed, verdict.said


def test_energy_that_nothing_tells_is_refused_and_not_passed(kept):
    wanted = gate(measure="energy", max=1)
    with pytest.raises(EnvironmentProblem, match="measured with ONNX Runtime on CPU, and nothing told the power"):
        gates.judge([wanted], [step("bench", bench(2.0, 1.0))], never)
    silent = dataclasses.replace(bench(2.0, 1.0, runner="RTX on H200"), notes=("no power, clocks: NVML is missing",))
    with pytest.raises(EnvironmentProblem, match="NVML is missing"):
        gates.judge([wanted], [step("bench", silent)], never)
    raw = json.loads(kept.read_text())
    raw["engines"]["fp16"]["runner"] = RECORDED["runner"]
    kept.write_text(json.dumps(raw))
    with pytest.raises(UsageError, match="no energy was measured for fp16 at batch 8"):
        gates.judge([gate(measure="energy", baseline=kept)], [step("bench", recorded())], never)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("latency_p99<=2ms", {"measure": "latency_p99", "max": "2ms"}),
        ("throughput[fp16-b8] >= 1000", {"measure": "throughput", "min": 1000.0, "engine": "fp16-b8"}),
        ("energy<=20mJ", {"measure": "energy", "max": "20mJ"}),
    ],
)
def test_gates_as_they_are_written_on_a_command_line(text, keys):
    assert gate_bounds.written(text) == keys
    assert gate(**keys)


@pytest.mark.parametrize("text", ["latency_p99", "latency_p99<2ms", "<=2ms", "energy<="])
def test_what_is_no_gate_is_refused(text):
    with pytest.raises(UsageError, match="expected MEASURE<=VALUE"):
        gate_bounds.written(text)


def proven(*shares):
    """A build whose engine runs as many operators wider as shares are given."""
    wider = tuple(Wider(f"conv{n}", "Conv", "float16", "float", share, f"layer{n}") for n, share in enumerate(shares))
    proof = Proof("inspector of X", {"float16": 1.0}, {"float16": 1 - sum(shares), "float": sum(shares)}, wider)
    return step("build", dataclasses.replace(build(), proof=proof))


def unbidden(*steps):
    """Verdicts on what a job without gates is judged by."""
    return gates.judge(list(gates.implied([], steps)), steps, never)


def test_an_engine_as_promised_is_kept_without_a_gate():
    (verdict,) = unbidden(proven())
    assert (verdict.name, verdict.passed) == ("wider_share[fp16]", True)
    assert verdict.said.startswith("0.00 % of the arithmetic runs wider")


def test_what_runs_wider_is_missed_unless_a_gate_allows_it():
    (verdict,) = unbidden(proven(0.25, 0.125))
    assert (verdict.passed, verdict.exit_code) == (False, 6)
    assert verdict.said.splitlines() == [
        "37.50 % of the arithmetic runs wider than the typed ONNX says; allowed is at most 0.00 % (inspector of X)",
        "  conv0 (Conv): float16 was asked, float runs in layer layer0, 25.00 %",
        "  conv1 (Conv): float16 was asked, float runs in layer layer1, 12.50 %",
    ]
    assert "gates: [{measure: wider_share, max: 0.38}]" in verdict.hint
    for keys, passed in (({"max": 0.38}, True), ({"max": 0.37}, False), ({"max": 0.38, "engine": "fp16"}, True)):
        asked = gate(measure="wider_share", **keys)
        assert list(gates.implied([asked], [proven(0.25, 0.125)])) == []
        (verdict,) = gates.judge([asked], [proven(0.25, 0.125)], never)
        assert verdict.passed is passed


def test_what_the_engine_does_not_tell_is_said():
    proof = Proof("inspector of X", {"float16": 1.0}, {"float16": 0.75, "unknown": 0.25})
    (verdict,) = unbidden(step("build", dataclasses.replace(build(), proof=proof)))
    assert verdict.passed
    assert "of 25.00 % the engine tells no type" in verdict.said


def test_many_wider_operators_are_counted():
    (verdict,) = unbidden(proven(*[0.1] * 8))
    assert verdict.said.splitlines()[-1] == "  and 3 more (see --json)"


def test_where_no_engine_was_asked_a_gate_says_so():
    assert unbidden(step("build", build())) == []
    asked = gate(measure="wider_share", max=0)
    proof = Proof("typed ONNX (no NVIDIA driver)", {"float16": 1.0})
    (verdict,) = gates.judge([asked], [step("build", dataclasses.replace(build(), proof=proof))], never)
    assert verdict.passed
    assert verdict.said == "nothing was measured: the proof is the typed ONNX (no NVIDIA driver)"


def test_a_wider_share_has_a_largest_value_only():
    made, problems = read(Gate, {"measure": "wider_share", "min": 0.5}, Path())
    assert made is None
    assert "expected max for wider_share" in str(problems)


def test_a_proof_survives_the_record_of_a_step():
    result = proven(0.25).result
    assert restore("build", json.loads(json.dumps(plain(result)))) == result
