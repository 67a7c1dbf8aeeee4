"""The store through the front door."""

from __future__ import annotations

import json

import pytest

from tests.cli.test_errors import tiny_model

pytestmark = pytest.mark.rtx


def test_ls_gc_and_sharing_between_folders(trtconv, tmp_path):
    tiny_model(tmp_path / "model.onnx")
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text("version: 1\nsource: {path: model.onnx}\nprecision: fp16\n")
    env = {"TRTCONV_CACHE": str(tmp_path / "store")}
    first = trtconv("run", "one.yaml", env=env)
    assert first.returncode == 0, first.stderr
    assert "from cache" not in first.stderr
    second = trtconv("run", "two.yaml", env=env)
    assert second.stderr.count(": from cache") == 3
    ours, theirs = (tmp_path / f"build/{name}/{name}.fp16.engine" for name in ("one", "two"))
    assert ours.read_bytes() == theirs.read_bytes()
    assert json.loads((tmp_path / "build/two/two.fp16.engine.json").read_text())["engine"]["file"] == theirs.name
    listed = json.loads(trtconv("cache", "ls", "--json", env=env).stdout)
    assert sorted(e["stage"] for e in listed["entries"]) == ["build", "convert", "lower"]
    assert "3 entries" in trtconv("cache", "ls", env=env).stdout
    assert "removed 3 entries" in trtconv("cache", "gc", "--keep", "0", env=env).stdout
    assert json.loads(trtconv("cache", "ls", "--json", env=env).stdout)["entries"] == []


def test_store_mistakes_are_usage(trtconv):
    off = trtconv("cache", "ls", env={"TRTCONV_CACHE": "off"})
    assert off.returncode == 2
    assert "TRTCONV_CACHE is off" in off.stderr
    assert trtconv("cache", "gc", "--keep", "much").returncode == 2
    assert trtconv("cache", "ls", env={"TRTCONV_CACHE_LIMIT": "much"}).returncode == 2
