import math
import struct

import numpy as np
import pytest

from trtconv.calibration import cache as caches
from trtconv.calibration.cache import Cache, Facts
from trtconv.core.errors import UsageError


def test_published_example_means_two_point_zero_zero_eight():
    assert caches.loads("TRT-7103-EntropyCalibration2\ndata: 4000889d\n", "c").amax["data"] == pytest.approx(
        2.0083382 * 127, rel=1e-6
    )


def test_headers_of_all_versions():
    for header, version, token in (
        ("TRT-8205-EntropyCalibration2", 8205, "EntropyCalibration2"),
        ("TRT-101401-MinMaxCalibration", 101401, "MinMaxCalibration"),
        ("TRT-7000-LegacyCalibration", 7000, "LegacyCalibration"),
    ):
        cache = caches.loads(f"{header}\nx: 3c010a14\n", "c")
        assert (cache.version, cache.algorithm) == (version, token)


def test_names_with_colons_and_blanks_split_at_the_last():
    text = (
        "TRT-8501-EntropyCalibration2\n"
        "onnx::Conv_329: 3c010a14\n"
        "(Unnamed Layer* 24) [Shuffle]_output: 3d000000\n"
        "a: b: 3d800000\n"
    )
    cache = caches.loads(text, "c")
    assert list(cache.amax) == ["onnx::Conv_329", "(Unnamed Layer* 24) [Shuffle]_output", "a: b"]
    assert cache.amax["a: b"] == 0.0625 * 127


def test_short_digits_zero_infinity_and_blank_lines():
    cache = caches.loads("TRT-8501-EntropyCalibration2\r\nzero: 0\r\n\r\ntiny: 1\r\nburst: 7f800000\r\n", "c")
    assert cache.amax["zero"] == 0.0
    assert cache.amax["tiny"] == pytest.approx(127 * 2.0**-149)
    assert math.isinf(cache.amax["burst"])


def test_the_mark_that_windows_editors_put_in_front(tmp_path):
    path = tmp_path / "c.cache"
    path.write_bytes("TRT-8501-EntropyCalibration2\r\nx: 3d800000\r\ny: 0".encode("utf-8-sig"))
    assert caches.read(path).amax == {"x": 0.0625 * 127, "y": 0.0}


def test_round_trip_keeps_scales_to_the_bit():
    values = np.random.default_rng(0).lognormal(0, 4, 200)
    amax = {f"t:{i} x": float(v) for i, v in enumerate(values)} | {"inf": math.inf, "zero": 0.0, "huge": 1e300}
    text = caches.dumps(Cache(amax, algorithm="MinMaxCalibration"))
    lines = text.splitlines()
    assert lines[0] == "TRT-101600-MinMaxCalibration"
    for line, value in zip(lines[1:201], values, strict=True):
        bits = line.rsplit(": ")[-1]
        assert np.frombuffer(bytes.fromhex(bits), ">f4")[0] == np.float32(value / 127)
    again = caches.loads(text, "c")
    assert caches.dumps(again) == text
    assert math.isinf(again.amax["huge"])
    assert again.amax["t:7 x"] == pytest.approx(values[7], rel=1e-7)


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ("", "c.cache:1", "the file is empty"),
        ("hello\nx: 3c010a14\n", "c.cache:1", "'hello'"),
        ("TRT-8501-EntropyCalibration2\n", "c.cache:1", "no tensors"),
        ("TRT-8501-EntropyCalibration2\nx: 3c010a14\ny = 3\n", "c.cache:3", "'y = 3'"),
        ("TRT-8501-EntropyCalibration2\nx: zz\n", "c.cache:2", "'x: zz'"),
        ("TRT-8501-EntropyCalibration2\nx: 3c010a14ff\n", "c.cache:2", "hexadecimal"),
        ("TRT-8501-EntropyCalibration2\nx: bf800000\n", "c.cache:2", "hexadecimal"),  # negative
        ("TRT-8501-EntropyCalibration2\nx: 7fc00000\n", "c.cache:2", "hexadecimal"),  # NaN
        ("TRT-8501-EntropyCalibration2\nx: 3c010a14\ny: 3c01", "c.cache:3", "'y: 3c01'"),  # the file ends early
    ],
)
def test_foreign_text_is_refused_with_its_place(tmp_path, text, place, why):
    path = tmp_path / "c.cache"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        caches.read(path)
    assert str(caught.value).startswith(str(tmp_path / place))
    assert why in str(caught.value)
    assert caught.value.hint


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(UsageError, match="no such"):
        caches.read(tmp_path / "none")
    (tmp_path / "b").write_bytes(b"\x08\x07\xff\xfe" * 9)
    with pytest.raises(UsageError, match="not text"):
        caches.read(tmp_path / "b")


def test_facts_travel_in_the_sidecar(tmp_path):
    path = tmp_path / "m.cache"
    facts = Facts(model="a" * 64, data="b" * 64, method="mse", samples=12, batch=4, seed=3, amax={"x": 1.25})
    assert caches.read_facts(path) is None
    caches.write(path, Cache({"x": 1.0}), facts)
    assert caches.read_facts(path) == facts
    assert caches.sidecar(path).name == "m.cache.json"
    (tmp_path / "m.cache.json").write_text('{"format": 1, "model": 3}')
    with pytest.raises(UsageError, match=r"m\.cache\.json"):
        caches.read_facts(path)


def test_scale_is_amax_over_127():
    line = caches.dumps(Cache({"x": 6.35})).splitlines()[1]
    assert struct.unpack(">f", bytes.fromhex(line[3:]))[0] == np.float32(6.35 / 127)
