"""Plan headers from their bytes; real ones are checked where TensorRT-RTX is installed (tests/stages/test_build.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from trtconv.core.errors import EnvironmentProblem, SourceError
from trtconv.engines.plan import header


def plan(tag: bytes, version: tuple[int, int, int, int], size: int = 100, mask: int = 0x7E) -> bytes:
    head = bytearray(size)
    head[:4], head[24:28] = tag, bytes(version)
    if tag == b"vtrt":
        head[8] = 2
        head[16:24], head[28:32] = size.to_bytes(8, "little"), tag
        head[32:36], head[56:64] = mask.to_bytes(4, "little"), (1120).to_bytes(8, "little")
    return bytes(head)


def write(folder: Path, data: bytes) -> Path:
    path = folder / "x.engine"
    path.write_bytes(data)
    return path


def test_rtx(tmp_path: Path) -> None:
    found = header.read(write(tmp_path, plan(b"vtrt", (1, 7, 1, 116))))
    assert (found.flavor, found.version, found.weights) == ("rtx", "1.7.1.116", 1120)
    assert found.targets == ("sm80", "sm86", "sm89", "sm120", "sm121", "later")
    assert not found.truncated


def test_rtx_for_turing_alone(tmp_path: Path) -> None:
    assert header.read(write(tmp_path, plan(b"vtrt", (1, 5, 0, 114), mask=1))).targets == ("sm75",)


def test_tensorrt(tmp_path: Path) -> None:
    found = header.read(write(tmp_path, plan(b"ftrt", (10, 16, 1, 11))))
    assert (found.flavor, found.version, found.stated_size, found.targets) == ("tensorrt", "10.16.1.11", None, ())


def test_a_plan_from_before_versions_were_written(tmp_path: Path) -> None:
    assert header.read(write(tmp_path, plan(b"ftrt", (0, 0, 0, 0)))).version == ""


def test_cut_short(tmp_path: Path) -> None:
    path = write(tmp_path, plan(b"vtrt", (1, 7, 1, 116), size=5000)[:3000])
    with pytest.raises(
        EnvironmentProblem, match=r"x\.engine: engine is cut short: .* \(3000 of 5000 bytes\)"
    ) as raised:
        header.read(path)
    assert raised.value.exit_code == 5
    with pytest.raises(EnvironmentProblem, match="not even a header"):
        header.read(write(tmp_path, b"ftrt" + bytes(20)))


def test_a_plan_behind_metadata_is_shown_with_the_way_out(tmp_path: Path) -> None:
    metadata = b'{"stride": 32}'
    path = write(tmp_path, len(metadata).to_bytes(4, "little") + metadata + plan(b"ftrt", (10, 1, 0, 0)))
    with pytest.raises(SourceError, match="begins only at byte 18, after JSON metadata") as raised:
        header.read(path)
    assert "tail -c +19" in raised.value.hint


@pytest.mark.parametrize(
    ("data", "what"), [(b"", "an empty file"), (b"hello", "a text file"), (b"\x89PNG\r\n\x1a\n", "PNG")]
)
def test_other_files_are_named(tmp_path: Path, data: bytes, what: str) -> None:
    with pytest.raises(SourceError, match=f"not a TensorRT engine; it looks like .*{what.split()[-1]}"):
        header.read(write(tmp_path, data))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        header.read(tmp_path / "x.engine")
