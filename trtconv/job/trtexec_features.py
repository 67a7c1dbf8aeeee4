"""trtexec's flags for what an engine is built to do, and for how it is loaded then."""

from __future__ import annotations

from typing import Any

from trtconv.core.units import parse_budget
from trtconv.job.trtexec_shapes import Given

_STRIPPED = ("stripWeights", "stripAllWeights", "weightless")


def building(given: Given, problems: list[str], notes: list[str]) -> dict[str, Any]:
    """Keys of the build section. What is wrong is added to ``problems``, what asks for nothing to ``notes``."""
    section: dict[str, Any] = {}
    stripped = [flag for flag in _STRIPPED if flag in given]
    asked = {
        "weight_streaming": "allowWeightStreaming" in given,
        "refit": "refit" in given or "stripAllWeights" in given,
        "strip_weights": bool(stripped),
    }
    section |= {key: True for key, wanted in asked.items() if wanted}
    if stripped and not ("skipInference" in given or "buildOnly" in given):
        problems.append(f"--{stripped[0]}: an engine without weights cannot be measured; add --skipInference")
    compatible = "versionCompatible" in given or "vc" in given
    if "excludeLeanRuntime" in given and not compatible:
        problems.append("--excludeLeanRuntime: goes with --versionCompatible")
    if compatible:
        outside = "excludeLeanRuntime" in given
        section["version_compatibility"] = "external_runtime" if outside else "embedded_runtime"
    return section | _accelerator(given, problems, notes)


def _accelerator(given: Given, problems: list[str], notes: list[str]) -> dict[str, Any]:
    core = given.get("useDLACore", ("-1",))[-1]
    if core == "-1":
        if "useDLACore" in given:
            notes.append("--useDLACore=-1 has no effect: it is the default")
        if "allowGPUFallback" in given:
            problems.append("--allowGPUFallback: goes with --useDLACore")
        return {}
    if not core.isdigit():
        problems.append(f"--useDLACore={core}: expected the number of a core")
        return {}
    return {"dla": {"core": int(core), "gpu_fallback": "allowGPUFallback" in given}}


def measuring(given: Given, problems: list[str], notes: list[str]) -> dict[str, Any]:
    """Keys of the bench section, likewise."""
    section: dict[str, Any] = {}
    runtime = given.get("useRuntime", ("",))[-1]
    if runtime == "full":
        notes.append("--useRuntime=full has no effect: it is the default")
    elif runtime not in ("", "lean") or (runtime == "lean") != ("leanDLLPath" in given):
        problems.append("--useRuntime: expected full, or lean together with --leanDLLPath")
    if "leanDLLPath" in given:
        section["lean_runtime"] = given["leanDLLPath"][-1]
    budget = given.get("weightStreamingBudget", ("",))[-1]
    if budget == "-2":
        notes.append("--weightStreamingBudget=-2 has no effect: it is the default")
    elif budget:
        section |= _budget(budget, problems)
    return section


def _budget(text: str, problems: list[str]) -> dict[str, Any]:
    try:
        return {"weight_streaming_budget": "auto" if text == "-1" else parse_budget(text)}
    except ValueError:
        problems.append(f"--weightStreamingBudget={text}: expected bytes such as 512M, a share such as 50%, -1 or -2")
        return {}
