"""Sections: what they read, what they refuse, and the JSON Schema that editors get."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml

from trtconv.job import json_schema
from trtconv.job.schema import Gate, Job
from trtconv.job.schema_lower import Keep
from trtconv.job.section import After, Before, Section, key, keys, read, rule


class Inner(Section):
    """Part of the one below."""

    size: int = key(1, gt=0)


class Outer(Section):
    """One key of each kind."""

    word: str = key("", pattern=r"^[a-z]*$")
    share: Annotated[float, key(gt=0, le=1)] = 0.5
    on: bool = False
    choice: Literal["a", "b", 1] = "a"
    either: bool | int | float = 0
    maybe: int | None = None
    many: Annotated[list[int], Before(lambda given: given if isinstance(given, list) else [given], one=True)] = key([])
    named: dict[str, Inner] = key({})
    inner: Inner = Inner()
    path: Annotated[Path, After(lambda path, base: base / path)] = key(Path())
    anything: Any = None

    @rule
    def _ordered(self) -> None:
        if self.maybe is not None and self.maybe > self.inner.size:
            raise ValueError("maybe is larger than inner.size")


def problems(**values: Any) -> list[tuple[str, str]]:
    made, found = read(Outer, values, Path("/base"))
    assert (made is None) == bool(found)
    return [(".".join(map(str, problem.loc)), problem.text) for problem in found]


def test_values_become_what_their_types_say() -> None:
    made, found = read(
        Outer,
        {
            "share": 1,
            "either": 2.5,
            "many": 3,
            "named": {"x": {"size": 4}},
            "path": "a/b",
            "choice": 1,
            "anything": [1],
        },
        Path("/base"),
    )
    assert found == []
    assert made is not None
    assert made.share == 1.0
    assert isinstance(made.share, float)
    assert (made.either, made.many, made.named, made.path) == (2.5, [3], {"x": Inner(size=4)}, Path("/base/a/b"))
    assert (made.choice, made.anything, made.word, made.maybe) == (1, [1], "", None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"word": 1}, ("word", "expected text, got 1")),
        ({"word": "A"}, ("word", 'text should match ^[a-z]*$, got "A"')),
        ({"share": True}, ("share", "expected a number, got true")),
        ({"share": float("inf")}, ("share", "expected a number, got Infinity")),
        ({"share": 0}, ("share", "input should be greater than 0, got 0.0")),
        ({"share": 1.5}, ("share", "input should be less than or equal to 1, got 1.5")),
        ({"on": 1}, ("on", "expected true or false, got 1")),
        ({"choice": True}, ("choice", "unknown value True; expected a, b, 1")),
        ({"either": "x"}, ("either", 'expected true or false or a whole number or a number, got "x"')),
        ({"maybe": 1.0}, ("maybe", "expected a whole number, got 1.0")),
        ({"many": ["x"]}, ("many.0", 'expected a whole number, got "x"')),
        ({"named": {"x": {"size": 0}}}, ("named.x.size", "input should be greater than 0, got 0")),
        ({"named": [1]}, ("named", "expected a mapping, got [1]")),
        ({"inner": {"sise": 1}}, ("inner.sise", "unknown key 'sise'; expected size; did you mean 'size'?")),
        ({"path": 1}, ("path", "expected a path, got 1")),
        ({"maybe": 2}, ("", "maybe is larger than inner.size")),
    ],
)
def test_what_is_wrong_is_told_with_its_place(values: dict[str, Any], expected: tuple[str, str]) -> None:
    assert problems(**values) == [expected]


def test_rules_wait_until_every_key_is_right() -> None:
    assert problems(maybe=2, word=1) == [("word", "expected text, got 1")]


def test_sections_are_frozen_closed_and_compared_by_value() -> None:
    keep = Keep(ops=["Conv"])
    assert keep == Keep(ops=["Conv"])
    assert keep != Keep()
    with pytest.raises(AttributeError, match="frozen"):
        keep.ops = []
    with pytest.raises(TypeError, match="unknown"):
        Keep(op=["Conv"])
    with pytest.raises(TypeError, match="missing"):
        Gate(max=1)


def test_what_the_file_said_is_told_from_defaults_after_changes_too() -> None:
    changed = Keep(ops=["Conv"]).replaced(limit=3.0)
    assert changed.plain(given=True) == {"ops": ["Conv"], "limit": 3.0}
    assert changed.plain() == {"ops": ["Conv"], "names": [], "limit": 3.0}


def test_the_schema_takes_what_the_parsers_take() -> None:
    """``workspace: 1GiB`` and ``precision: fp16`` are right, so an editor must not underline them."""
    parts = json_schema.json_schema(Job, {})["$defs"]
    workspace = parts["Build"]["properties"]["workspace"]["anyOf"]
    assert {"type": "string"} in [form for part in workspace for form in part.get("anyOf", [part])]
    precision = json_schema.json_schema(Job, {})["properties"]["precision"]
    words = {"enum": ["fp32", "tf32", "fp16", "bf16", "int8", "fp8", "typed"]}
    assert precision["anyOf"] == [{"type": "array", "items": words, "minItems": 1}, words]
    assert parts["Convert"]["properties"]["opset"] == {
        "type": "integer",
        "minimum": 13,
        "maximum": 18,
        "default": 17,
        "description": "ONNX opset",
    }
    assert parts["Gate"]["required"] == ["measure"]
    assert parts["Gate"]["additionalProperties"] is False


def test_the_schema_command_prints_every_key_of_the_job_and_extends() -> None:
    done = subprocess.run([sys.executable, "-m", "trtconv", "schema"], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)["properties"]) == {*keys(Job), "extends"}


@pytest.mark.parametrize(
    "path", sorted(p for p in Path("configs").glob("*.yaml") if ".lock" not in p.name), ids=lambda path: path.name
)
def test_the_example_jobs_fit_the_schema(path: Path) -> None:
    schema = json_schema.json_schema(Job, {"extends": {"type": "string"}})
    job = yaml.safe_load(path.read_text())
    assert fits(job, schema, schema["$defs"])
    assert not fits({**job, "precison": "fp16"}, schema, schema["$defs"])
    assert not fits({**job, "precision": "fp61"}, schema, schema["$defs"])
    assert not fits({**job, "build": {"workspace": True}}, schema, schema["$defs"])


def fits(value: Any, schema: dict[str, Any], parts: dict[str, Any]) -> bool:
    """Whether a value is valid, by the rules of json-schema.org for the words that are used here."""
    if "$ref" in schema:
        return fits(value, parts[schema["$ref"].removeprefix("#/$defs/")], parts)
    if "type" in schema and not TYPES[schema["type"]](value):
        return False
    checks = [
        "anyOf" not in schema or any(fits(value, part, parts) for part in schema["anyOf"]),
        "enum" not in schema or value in schema["enum"],
        "minimum" not in schema or value >= schema["minimum"],
        "maximum" not in schema or value <= schema["maximum"],
        "exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"],
        "exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"],
    ]
    if isinstance(value, list):
        checks += [len(value) >= schema.get("minItems", 0)]
        checks += [fits(item, schema["items"], parts) for item in value if "items" in schema]
    if isinstance(value, dict):
        checks += [set(schema.get("required", ())) <= value.keys()]
        other = schema.get("additionalProperties", {})
        checks += [
            fits(part, schema["properties"][name], parts)
            if name in schema.get("properties", {})
            else other is not False and fits(part, other, parts)
            for name, part in value.items()
        ]
    return all(checks)


TYPES: dict[str, Any] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}
