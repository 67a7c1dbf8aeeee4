"""Random results, names and values odd, through every writer and back by a parser that is not trtconv's."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
import pytest

from trtconv.core.errors import UsageError
from trtconv.core.strict_json import dumps, unicode
from trtconv.data.writers import Samples, open_writer
from trtconv.pipeline.gates import Verdict
from trtconv.report import junit

SIGNS = [
    "a",
    "Z",
    "é",
    "東",
    "😀",
    '"',
    "'",
    "%",
    ",",
    ":",
    ";",
    "=",
    "\n",
    "\r",
    "\t",
    " ",
    "\x1b",
    "\x07",
    "<",
    "&",
    "]]>",
    "/",
    "\\",
    "{",
    "[",
    "#",
    "|",
    "\ufffe",
    "::",
]
KINDS = ["float32", "float16", "float64", "int8", "uint8", "int64", "uint64", "bool", "U"]


def word(draw: random.Random) -> str:
    return "".join(draw.choice(SIGNS) for _ in range(draw.randrange(1, 8)))


def array(draw: random.Random, count: int) -> np.ndarray:
    shape = (count, *(draw.randrange(1, 4) for _ in range(draw.randrange(3))))
    kind = draw.choice(KINDS)
    if kind == "U":
        return np.array([word(draw) for _ in range(math.prod(shape))]).reshape(shape)
    rng = np.random.default_rng(draw.randrange(2**31))
    if kind == "bool":
        return rng.random(shape) < 0.5
    if kind.startswith("float"):
        odd = [0.0, -0.0, 1e-45, 65504.0, np.nan, np.inf, -np.inf, 0.1]
        return np.where(rng.random(shape) < 0.3, rng.choice(odd, shape), rng.normal(size=shape)).astype(kind)
    info = np.iinfo(kind)
    return rng.integers(info.min, info.max, shape, kind, endpoint=True)


def results(draw: random.Random) -> dict[str, np.ndarray]:
    count = draw.randrange(1, 6)
    return {word(draw): array(draw, count) for _ in range(draw.randrange(1, 4))}


def written(path: Path, arrays: Mapping[str, np.ndarray], draw: random.Random, files: list[str]) -> None:
    count = len(files)
    with open_writer(path, draw.choice([count, 0])) as writer:
        begin = 0
        while begin < count:
            end = draw.randrange(begin, count) + 1
            part = {name: values[begin:end] for name, values in arrays.items()}
            writer.add(part, Samples(range(begin, end), files[begin:end]))
            begin = end


def same(found: Any, wanted: Any) -> bool:
    """Plain values, where a text may stand for a number and null for what JSON lacks."""
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(wanted, float) and not math.isfinite(wanted):
        return found is None or (isinstance(found, str) and repr(float(found)) == repr(wanted))
    if isinstance(wanted, str):
        return found == wanted
    if isinstance(found, str):
        return found == str(wanted) or (isinstance(wanted, float) and float(found) == wanted)
    return bool(found == wanted)


def rows_of_csv(text: str) -> list[list[str]]:
    """RFC 4180 by its grammar."""
    field, rows, at = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)', re.DOTALL), [[]], 0
    while at < len(text):
        match = field.match(text, at)
        assert match, text[at : at + 40]
        rows[-1].append(match[2] if match[1] is None else match[1].replace('""', '"'))
        at = match.end()
        if match[3] == "\r\n" and at < len(text):
            rows.append([])
    return rows


def check_csv(path: Path, arrays: Mapping[str, np.ndarray], files: list[str]) -> None:
    header, *rows = rows_of_csv(path.read_bytes().decode())
    wanted = [list(map(str, ["sample", "file"]))]
    names = [
        name + (f"[{','.join(map(str, at))}]" if at else "")
        for name, a in arrays.items()
        for at in np.ndindex(a.shape[1:])
    ]
    assert header == [*wanted[0], *names]
    for number, row in enumerate(rows):
        values = [value for a in arrays.values() for value in a[number].reshape(-1).tolist()]
        assert same(row, [number, files[number], *values])
    assert len(rows) == len(files)


def check_archive(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    assert zipfile.ZipFile(path).testzip() is None
    with np.load(path) as archive:
        assert archive.files == list(arrays) or sorted(archive.files) == sorted(arrays)
        for name, wanted in arrays.items():
            assert np.array_equal(archive[name], wanted, equal_nan=wanted.dtype.kind == "f")


def by_node(folder: Path) -> dict[str, Any]:
    """Every JSON document of a folder as another language reads it, and writes it again."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed; Python's own parser read the documents already")
    script = (
        "const fs = require('fs'); const out = {};"
        "for (const f of fs.readdirSync('.')) if (f.endsWith('.json')) {"
        "const text = fs.readFileSync(f, 'utf8'); out[f] = JSON.parse(text).map(r => Object.keys(r).length); }"
        "console.log(JSON.stringify(out));"
    )
    done = subprocess.run(["node", "-e", script], cwd=folder, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def refuse(word: str) -> None:
    raise AssertionError(f"not JSON: {word}")


def test_five_hundred_results_come_back(tmp_path: Path) -> None:
    draw, lengths = random.Random(0), {}
    for number in range(500):
        arrays = results(draw)
        count = len(next(iter(arrays.values())))
        files = [word(draw) for _ in range(count)]
        for kind in ("npz", "json", "jsonl", "csv"):
            written(tmp_path / f"{number}.{kind}", arrays, draw, files)
        check_archive(tmp_path / f"{number}.npz", arrays)
        check_csv(tmp_path / f"{number}.csv", arrays, files)
        lines = (tmp_path / f"{number}.jsonl").read_bytes().decode().split("\n")[:-1]
        document = json.loads((tmp_path / f"{number}.json").read_bytes(), parse_constant=refuse)
        assert document == [json.loads(line, parse_constant=refuse) for line in lines]
        for row, record in enumerate(document):
            wanted = {"sample": row, "file": files[row]} | {n: a[row].tolist() for n, a in arrays.items()}
            assert record.keys() == wanted.keys()
            assert all(same(record[name], wanted[name]) for name in wanted)
        lengths[f"{number}.json"] = [len(arrays) + 2] * count
    assert by_node(tmp_path) == lengths


def test_junit_and_annotations_are_what_their_readers_expect() -> None:
    draw = random.Random(1)
    for _ in range(500):
        job, name, said = word(draw), word(draw), word(draw)
        verdicts = [Verdict(name, draw.random() < 0.5, said, 7)]
        failed = [(word(draw), word(draw))]
        found: list[tuple[str, dict[str, str]]] = []
        parser = expat.ParserCreate()
        parser.StartElementHandler = lambda tag, attributes: found.append((tag, attributes))  # noqa: B023
        parser.Parse(junit.junit(job, verdicts, failed).encode(), True)
        cases = [attributes for tag, attributes in found if tag == "testcase"]
        assert [case["name"] for case in cases] == [spelled(name), spelled(failed[0][0])]
        for line in junit.github(job, verdicts, failed).splitlines():
            assert line.startswith("::error ")
            head, _, text = line.removeprefix("::error ").partition("::")
            properties = dict(pair.split("=", 1) for pair in head.split(","))
            assert set(properties) == {"file", "title"}
            assert unescaped(properties["file"]) == job
            assert unescaped(text) in (said, failed[0][1])
        assert junit.github(job, verdicts, failed).count("\n") == (not verdicts[0].passed)


def spelled(text: str) -> str:
    """As XML can hold it."""
    return "".join(c.encode("unicode_escape").decode() if c in "\r\x1b\x07\ufffe" else c for c in text)


def unescaped(text: str) -> str:
    """As GitHub's runner does it."""
    for code, sign in (("%2C", ","), ("%3A", ":"), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, sign)
    return text


def test_problems_with_a_place_are_annotated_there() -> None:
    message = "a.yaml:3:5: infer: wrong\nbase,b.yaml:7:1: bench: wrong, too"
    assert junit.github("a.yaml", [], [("job", message)]).splitlines() == [
        "::error file=a.yaml,line=3,col=5,title=job::infer: wrong",
        "::error file=base%2Cb.yaml,line=7,col=1,title=job::bench: wrong, too",
    ]


@pytest.mark.parametrize("kind", ["npz", "npy", "csv", "jsonl"])
@pytest.mark.parametrize(
    ("first", "second", "wide"),
    [
        (np.array([1, 2]), np.array([0.5]), np.float64),
        (np.array([0.5]), np.array([1, 2]), np.float64),
        (np.array([0.5], np.float32), np.array([0.1]), np.float64),
        (np.array([1], np.int8), np.array([300], np.int16), np.int16),
        (np.array(["a"]), np.array(["longer"]), "U6"),
        (np.array([2**60 + 1]), np.array([0.5]), None),
        (np.array([0.5]), np.array([2**60 + 1]), None),
        (np.array([1]), np.array(["a"]), None),
    ],
)
def test_results_that_change_their_type(tmp_path: Path, kind: str, first: Any, second: Any, wide: Any) -> None:
    path, both = tmp_path / f"y.{kind}", [*first.tolist(), *second.tolist()]

    def write() -> None:
        with open_writer(path, len(both)) as writer:
            writer.add({"y": first}, Samples(range(len(first))))
            writer.add({"y": second}, Samples(range(len(first), len(both))))

    if wide is None and kind in ("npz", "npy"):
        with pytest.raises(UsageError, match=r"output 'y' is .* for some samples and .* for others"):
            write()
        assert not path.exists()
        return
    write()
    if kind in ("npz", "npy"):
        made = np.load(path)["y"] if kind == "npz" else np.load(path)
        assert made.dtype == np.dtype(wide)
        assert made.tolist() == both
    elif kind == "jsonl":
        assert [json.loads(line)["y"] for line in path.read_text().splitlines()] == both
    else:
        assert [row[1] for row in rows_of_csv(path.read_bytes().decode())[1:]] == [str(value) for value in both]


@pytest.mark.parametrize(
    ("arrays", "kind", "says"),
    [
        ({"sample": np.ones(1)}, "jsonl", "output 'sample' has the name"),
        ({"file": np.ones(1), "y": np.ones(1)}, "csv", "output 'file' has the name"),
        ({"y": np.ones((1, 2)), "y[0]": np.ones(1)}, "csv", r"two columns would have the name 'y\[0\]'"),
        ({"a\0b": np.ones(1)}, "npz", "cannot hold an output of the name"),
        ({"y": np.ones(1, complex)}, "npz", "results of type complex128 cannot be written"),
        ({"y": np.zeros(1, "datetime64[s]")}, "csv", "cannot be written"),
    ],
)
def test_what_a_file_cannot_hold_is_refused(tmp_path: Path, arrays: Any, kind: str, says: str) -> None:
    with pytest.raises(UsageError, match=says), open_writer(tmp_path / f"y.{kind}", 1) as writer:
        writer.add(arrays, Samples([0], ["a.png"]))


def test_names_that_are_no_unicode_are_spelled_out(tmp_path: Path) -> None:
    name = b"b\xff.png".decode("utf-8", "surrogateescape")
    for kind in ("csv", "jsonl", "json"):
        with open_writer(tmp_path / f"y.{kind}", 1) as writer:
            writer.add({"y": np.array([b"\xff"], object)}, Samples([0], [name]))
        text = (tmp_path / f"y.{kind}").read_bytes().decode()
        assert "b\\xff.png" in text.replace("\\\\", "\\")
    assert unicode("größe") == "größe"


def test_numbers_that_json_lacks_are_null_with_the_reason() -> None:
    value = {"snr": math.inf, "low": -math.inf, "worst": math.nan, "list": [1.0, math.nan], "fine": 0.5}
    assert json.loads(dumps(value), parse_constant=refuse) == {
        "snr": None,
        "snr_is": "infinity",
        "low": None,
        "low_is": "minus infinity",
        "worst": None,
        "worst_is": "not a number",
        "list": [1.0, None],
        "fine": 0.5,
    }
