"""Every TensorRT name that trtconv uses, against the recorded APIs of versions that cannot be installed everywhere.

The records in tests/data/trt_api hold names only: per class its members, and per method the parameter names of every
overload, a default marked by "=". The code is typed by the protocols of trtconv.adapters.tensorrt_api and
tensorrt_rtx_api, so mypy rejects any name that they lack; here the protocols are held to the records.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

import trtconv
from trtconv.adapters import tensorrt, tensorrt_api, tensorrt_network_api, tensorrt_plugins_api, tensorrt_rtx_api
from trtconv.engines.plan import dtypes

RECORDS = {
    path.stem: json.loads(path.read_text()) for path in sorted(Path(__file__).parents[1].glob("data/trt_api/*.json"))
}
PACKAGE = Path(trtconv.__file__).parent
FLAVOR_OF = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}  # module -> row of FLAVORS
OURS = {"TrtApi", "RtxApi"}  # the module itself, whose members are classes


def protocols(prefix: str) -> dict[str, type]:
    named = vars(tensorrt_plugins_api) | vars(tensorrt_network_api) | vars(tensorrt_api) | vars(tensorrt_rtx_api)
    return {name: value for name, value in named.items() if name.startswith(prefix) and inspect.isclass(value)}


def own(protocol: type) -> dict[str, list[str] | None]:
    """What a protocol itself declares: parameters per method, None per attribute."""
    found: dict[str, list[str] | None] = dict.fromkeys(protocol.__annotations__)
    for name, value in vars(protocol).items():
        if isinstance(value, property):
            found[name] = None
        elif inspect.isfunction(value) and (not name.startswith("_") or name in ("__init__",)):
            found[name] = list(inspect.signature(value).parameters)[1:]
    found.pop("__members__", None)  # every enumeration has it
    for hidden in [name for name in found if name.startswith(("_abc", "_is_", "__"))]:
        del found[hidden]
    return found


def fits(parameters: list[str], overload: list[str]) -> bool:
    """The same names in the same order, where what is left out has a default."""
    names = [name.rstrip("=") for name in overload]
    return names[: len(parameters)] == parameters and all(name.endswith("=") for name in overload[len(parameters) :])


def misuses(protocol: type, record: dict[str, Any]) -> list[str]:
    """Members of a protocol that a recorded API does not have, or has with other parameters."""
    recorded = record["classes"].get(protocol.__name__[3:])
    if recorded is None:
        return [f"no class {protocol.__name__[3:]}"]
    problems = []
    for name, parameters in own(protocol).items():
        if name not in recorded:
            problems.append(f"no {protocol.__name__[3:]}.{name}")
        elif isinstance(recorded, dict) and (recorded[name] is None) != (parameters is None):
            problems.append(f"{name} is a method in one and an attribute in the other")
        elif parameters is not None and not any(fits(parameters, overload) for overload in recorded[name]):
            problems.append(f"{protocol.__name__[3:]}.{name}({', '.join(parameters)}) is {recorded[name]}")
    return problems


def module_misuses(protocol: type, record: dict[str, Any]) -> list[str]:
    problems = []
    for name, parameters in own(protocol).items():
        if name not in record["classes"]:
            problems.append(f"no class {name}")
        elif parameters is not None and not any(fits(parameters, o) for o in record["classes"][name]["__init__"]):
            problems.append(f"{name}({', '.join(parameters)}) is {record['classes'][name]['__init__']}")
    return problems


def records_of(flavor: str) -> list[dict[str, Any]]:
    return [record for record in RECORDS.values() if FLAVOR_OF[record["module"]] == flavor]


def test_the_records_are_those_that_are_promised() -> None:
    assert set(RECORDS) == {"tensorrt-10.16.1", "tensorrt-11.4.0", "tensorrt_rtx-1.5.0", "tensorrt_rtx-1.7.1"}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
@pytest.mark.parametrize("name", sorted(set(protocols("Trt")) - OURS))
def test_what_every_flavor_is_said_to_have_is_in_every_api(name: str, record: dict[str, Any]) -> None:
    assert misuses(protocols("Trt")[name], record) == []


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_the_modules_hold_the_classes(record: dict[str, Any]) -> None:
    assert module_misuses(tensorrt_api.TrtApi, record) == []


@pytest.mark.parametrize("name", sorted(set(protocols("Rtx")) - OURS))
def test_what_only_rtx_is_said_to_have_is_there_and_nowhere_else(name: str) -> None:
    protocol = protocols("Rtx")[name]
    for record in records_of("rtx"):
        assert misuses(protocol, record) == []
    for record in records_of("tensorrt"):  # a name that all have needs no guard: it belongs to the TrtX
        recorded = record["classes"].get(name[3:], {})
        assert [member for member in own(protocol) if member in recorded] == []


def test_the_rtx_module_holds_its_classes_alone() -> None:
    for record in records_of("rtx"):
        assert module_misuses(tensorrt_rtx_api.RtxApi, record) == []
    for record in records_of("tensorrt"):
        assert not set(own(tensorrt_rtx_api.RtxApi)) & set(record["classes"])


def test_a_capability_is_claimed_exactly_where_its_names_exist() -> None:
    assert set(tensorrt_rtx_api.RTX_ONLY) >= {n for n in protocols("Rtx") if len(protocols("Rtx")[n].__bases__) > 1}
    for name, capability in tensorrt_rtx_api.RTX_ONLY.items():
        protocol = protocols("Rtx")[name]
        check = module_misuses if name in OURS else misuses
        for flavor, row in tensorrt.FLAVORS.items():
            there = all(check(protocol, record) == [] for record in records_of(flavor))
            assert getattr(row.can, capability) is there, (name, flavor)


@pytest.mark.parametrize("capability", ["targets", "validity", "jit"])
def test_the_guards_ask_the_capability_record(capability: str) -> None:
    guards = {
        "targets": tensorrt_rtx_api.with_targets,
        "validity": tensorrt_rtx_api.with_validity,
        "jit": tensorrt_rtx_api.with_jit,
    }
    value: Any = object()
    assert guards[capability](value, tensorrt.FLAVORS["rtx"].can) is value
    with pytest.raises(AssertionError):
        guards[capability](value, tensorrt.FLAVORS["tensorrt"].can)


def test_every_element_type_has_an_onnx_name() -> None:
    for record in RECORDS.values():
        assert set(record["classes"]["DataType"]) <= set(dtypes._ONNX)


class TestTheCheckItself:
    def test_an_unknown_member_is_found(self) -> None:
        class TrtBuilder(Protocol):
            def platform_has_fast_int8(self) -> bool: ...

        record = RECORDS["tensorrt-11.4.0"]
        assert misuses(TrtBuilder, record) == ["no Builder.platform_has_fast_int8"]

    def test_a_wrong_keyword_is_found(self) -> None:
        class TrtBuilder(Protocol):
            def create_network(self, flag: int) -> None: ...

        assert misuses(TrtBuilder, RECORDS["tensorrt-10.16.1"]) == ["Builder.create_network(flag) is [['flags=']]"]

    def test_a_missing_argument_is_found(self) -> None:
        class TrtBuilder(Protocol):
            def build_serialized_network(self, network: object) -> None: ...

        assert len(misuses(TrtBuilder, RECORDS["tensorrt_rtx-1.5.0"])) == 1

    def test_a_flag_of_another_version_is_found(self) -> None:
        class TrtBuilderFlag(Protocol):
            FP16: int

        assert misuses(TrtBuilderFlag, RECORDS["tensorrt-10.16.1"]) == []
        assert misuses(TrtBuilderFlag, RECORDS["tensorrt-11.4.0"]) == ["no BuilderFlag.FP16"]

    def test_a_name_outside_the_protocols_is_a_type_error(self, tmp_path: Path) -> None:
        """The other half of the proof: code cannot use what no protocol declares, nor skip a guard."""
        code = tmp_path / "misuse.py"
        code.write_text(
            "from trtconv.adapters import tensorrt\n"
            "api = tensorrt.load('rtx').api\n"
            "builder = api.Builder(tensorrt.logger(api, lambda severity, text: None))\n"
            "builder.create_network(0)\n"
            "builder.build_cuda_engine(None)\n"
            "builder.create_network(flag=1)\n"
            "api.BuilderFlag.FP16\n"
            "builder.create_builder_config().num_compute_capabilities\n"
        )
        root = PACKAGE.parent
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--config-file", root / "pyproject.toml", code],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = sorted({int(line.split(":")[1]) for line in done.stdout.splitlines() if "error:" in line})
        assert lines == [5, 6, 7, 8], done.stdout + done.stderr


def code_that_uses_tensorrt() -> list[Path]:
    files = [
        PACKAGE / "adapters/tensorrt.py",
        *sorted((PACKAGE / "engines").rglob("*.py")),
        *sorted((PACKAGE / "stages").glob("*.py")),
    ]
    return [file for file in files if "adapters.tensorrt" in file.read_text() or file.name == "tensorrt.py"]


@pytest.mark.parametrize("file", code_that_uses_tensorrt(), ids=lambda file: file.stem)
def test_no_code_slips_past_the_types(file: Path) -> None:
    """Around TensorRT no attribute is looked up by a computed name, and no type is waived but for its base classes."""
    tree = ast.parse(file.read_text())
    native = {"api", "native", "context", "builder", "network", "config", "engine", "_engine", "_context", "_runtime"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr", "vars"):
            assert not native & set(ast.unparse(node.args[0]).split(".")), ast.unparse(node)
    waived = [line for line in file.read_text().splitlines() if "type: ignore" in line]
    assert all("(api.I" in line for line in waived), waived


def test_overridden_methods_have_their_recorded_parameters() -> None:
    tree = ast.parse((PACKAGE / "adapters/tensorrt.py").read_text())
    bases = {"ILogger", "IProgressMonitor", "IProfiler", "IOutputAllocator", "IStreamWriter"}
    handed_over = {"IStreamWriter": ["data"]}  # of an override; recorded is the base class, which takes C++'s pointer
    seen = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.bases and ast.unparse(node.bases[0]).startswith("api."):
            base = ast.unparse(node.bases[0]).removeprefix("api.")
            seen.add(base)
            for method in (m for m in node.body if isinstance(m, ast.FunctionDef) and m.name != "__init__"):
                parameters = [argument.arg for argument in method.args.args[1:]]
                for record in RECORDS.values():
                    recorded = record["classes"][base][method.name]
                    assert [handed_over.get(base, *recorded)] == [parameters], (base, method.name)
    assert seen == bases


@pytest.mark.parametrize("flavor", tensorrt.FLAVORS.values(), ids=tensorrt.FLAVORS)
def test_the_installed_module_has_every_name(flavor: tensorrt.Flavor) -> None:
    """Whatever version is installed, newer than the records too."""
    if importlib.util.find_spec(flavor.module) is None:
        pytest.skip(f"{flavor.module} is not installed")
    module = importlib.import_module(flavor.module)
    for prefix in ("Trt", "Rtx") if flavor.can.jit else ("Trt",):
        for name, protocol in protocols(prefix).items():
            target = module if name in OURS else getattr(module, name[3:], None)
            if target is None:
                continue  # classes without a Python name of their own
            assert [member for member in own(protocol) if not hasattr(target, member)] == [], name
