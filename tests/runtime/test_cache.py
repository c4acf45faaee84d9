"""A cache is this user's alone, and what cannot be believed is made anew."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from defian_edge.calibration.ranges import cache as ranges
from defian_edge.runtime import cache
from defian_edge.runtime.cache import CacheWarning, cache_folder, keep, read_cached
from defian_edge.runtime.plugin.binary import kernel_images


def test_what_is_kept_is_found_and_nobody_else_may_read_or_write_it(tmp_path):
    path = tmp_path / "root" / "kernels" / "a"
    keep(path, b"content")
    assert read_cached(path) == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path.parent.parent)} == {0o700}


DAMAGE = {
    "empty": lambda _: b"",
    "cut": lambda whole: whole[:-1],
    "head alone": lambda whole: whole[: len(cache.MAGIC) + 32],
    "a bit": lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
    "digest": lambda whole: whole[:20] + bytes([whole[20] ^ 1]) + whole[21:],
    "foreign": lambda _: b"another program's file",
    "longer": lambda whole: whole + b"x",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_whole_is_not_believed_and_that_is_said(tmp_path, damage):
    path = tmp_path / "root" / "kernels" / "a"
    keep(path, b"content")
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.warns(CacheWarning, match="made anew: it is damaged"):
        assert read_cached(path) is None
    keep(path, b"again")
    assert read_cached(path) == b"again"


def test_what_another_version_has_kept_is_nothing_to_warn_of(tmp_path, recwarn):
    keep(tmp_path / "root" / "kernels" / "a", b"content")
    path = tmp_path / "root" / "kernels" / "a"
    path.write_bytes(path.read_bytes().replace(cache.MAGIC, b"defian-cache 1\n"))
    assert read_cached(path) is None
    assert not recwarn.list


def test_what_was_kept_under_another_name_is_not_believed(tmp_path):
    """Whole and ours, but of another graph: its ranges would make another picture."""
    keep(tmp_path / "root" / "ranges" / "a", b"content")
    (tmp_path / "root" / "ranges" / "a").rename(tmp_path / "root" / "ranges" / "b")
    with pytest.warns(CacheWarning, match="was renamed"):
        assert read_cached(tmp_path / "root" / "ranges" / "b") is None


@pytest.mark.parametrize(("place", "mode"), [("file", 0o620), ("file", 0o602), ("folder", 0o770), ("folder", 0o707)])
def test_what_others_may_write_is_not_believed(tmp_path, place, mode):
    path = tmp_path / "root" / "kernels" / "a"
    keep(path, b"content")
    (path if place == "file" else path.parent).chmod(mode)
    with pytest.warns(CacheWarning, match="others may write it"):
        assert read_cached(path) is None
    keep(path, b"again")
    assert read_cached(path) == b"again"


def test_what_another_user_owns_is_not_believed(tmp_path, monkeypatch):
    path = tmp_path / "root" / "kernels" / "a"
    keep(path, b"content")
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.warns(CacheWarning, match="belongs to another user"):
        assert read_cached(path) is None


def test_without_a_home_there_is_no_cache_and_everything_goes_on(monkeypatch):
    for name in ("DEFIAN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert cache_folder() is None
    assert ranges.load("key") is None
    ranges.store("key", {"a": np.zeros(3)})
    assert [place for place, _ in kernel_images((8, 7))][1:] == ["NVRTC"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_ranges_that_are_no_numbers_are_measured_anew(tmp_path, monkeypatch, value):
    monkeypatch.setenv("DEFIAN_CACHE", str(tmp_path))
    ranges.store("key", {"a": np.array([1.0, value])})
    with pytest.warns(CacheWarning, match=r"key\.npz is not used, but made anew: it holds what is no finite number"):
        assert ranges.load("key") is None
    ranges.store("key", {"a": np.array([1.0, 2.0])})
    assert ranges.load("key") is not None


def test_a_whole_file_that_holds_no_arrays_is_measured_anew_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFIAN_CACHE", str(tmp_path))
    path = ranges.cache_path("key")
    assert path is not None
    keep(path, b"no arrays")
    with pytest.warns(CacheWarning, match="it holds no arrays"):
        assert ranges.load("key") is None
