"""Packages, and the CUDA that each is built for; caches, and whether their rights let them be believed."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from defian_edge.runtime.doctor import caches, gather
from defian_edge.runtime.doctor.caches import find_cache
from defian_edge.runtime.doctor.describe import described
from defian_edge.runtime.doctor.packages import EXTRAS, extra_of, find_packages, is_older
from tests.conftest import REPOSITORY
from tests.doubles.doctor_facts import BARE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A folder on the path in which packages are made up; what is really installed is not seen."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def installed(site: Path, name: str, version: str, **files: str) -> None:
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for path, text in files.items():
        target = site / path.replace("__", "/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.with_suffix(".py").write_text(text)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib comes with Python 3.11")
def test_the_extras_are_those_of_the_project_with_their_least_versions():
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = {"": project["dependencies"], **project["optional-dependencies"]}
    least = {
        extra: [re.match(r"([\w-]+)(?:\[\w+\])?>=([\w.]+)", each) for each in wanted] for extra, wanted in asked.items()
    }
    assert {extra: {each[1]: each[2] for each in wanted if each} for extra, wanted in least.items()} == EXTRAS
    assert all(each for wanted in least.values() for each in wanted)


def test_packages_are_found_with_the_cuda_that_each_is_built_for(site):
    installed(site, "numpy", "2.4.6")
    installed(site, "cuda-bindings", "12.9.2")
    installed(site, "nvidia-cuda-nvrtc-cu12", "12.9.86")
    installed(site, "onnxruntime-gpu", "1.26.0", onnxruntime__capi__build_and_package_info="cuda_version = '12.8'\n")
    installed(site, "torch", "2.13.0", torch__version="debug = False\ncuda: Optional[str] = '13.0'\nhip = None\n")
    installed(site, "tensorrt_cu12", "11.4.0.106")
    found = find_packages()
    cudas = {name: (package.version, package.cuda) for name, package in found.items()}
    assert cudas == {
        "numpy": ("2.4.6", None),
        "cuda-bindings": ("12.9.2", 12),
        "nvidia-cuda-nvrtc-cu12": ("12.9.86", 12),
        "onnxruntime-gpu": ("1.26.0", 12),
        "torch": ("2.13.0", 13),
        "tensorrt-cu12": ("11.4.0.106", 12),
        "tensorrt": ("11.4.0.106", 12),
    }
    assert found["numpy"].folder == str(site)


def test_a_package_that_does_not_say_its_cuda_is_of_none(site):
    installed(site, "torch", "2.13.0", torch__version="cuda: Optional[str] = None\n")
    installed(site, "onnxruntime-gpu", "1.26.0")
    assert [package.cuda for package in find_packages().values()] == [None, None]


@pytest.mark.parametrize(
    ("version", "least", "older"),
    [("2", "2.0.0", False), ("1.19.9", "1.20", True), ("1.20rc1", "1.20", False), ("10.16.1", "10.3", False)],
)
def test_versions_are_compared_number_by_number(version, least, older):
    assert is_older(version, least) is older


def test_the_smallest_extra_is_named():
    assert extra_of("pycuda") == "device"
    assert extra_of("scikit-image") == "compare"
    assert extra_of("numpy") == ""


def test_a_cache_that_is_its_users_alone_is_in_no_doubt(tmp_path):
    folder = tmp_path / "cache"
    assert find_cache(folder) == gather.find_cache(folder)
    assert not find_cache(folder).there
    (folder / "kernels").mkdir(parents=True)
    (folder / "kernels" / "a.cubin").write_bytes(b"12345")
    for path in (folder, folder / "kernels", folder / "kernels" / "a.cubin"):
        path.chmod(0o700)
    found = find_cache(folder)
    assert (found.there, found.files, found.size, found.doubts) == (True, 1, 5, ())
    (folder / "kernels").chmod(0o777)
    assert find_cache(folder).doubts == (f"{folder / 'kernels'}: others may write it",)
    (folder / "kernels").chmod(0o700)
    folder.chmod(0o770)
    assert find_cache(folder).doubts == (f"{folder}: others may write it",)


def test_a_cache_that_cannot_be_made_or_is_another_users_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert find_cache(tmp_path / "file").doubts == (f"{tmp_path / 'file'}: it is no folder",)
    monkeypatch.setattr(os, "access", lambda *_: False)
    [doubt] = find_cache(tmp_path / "new").doubts
    assert doubt.endswith(f"it cannot be made: this user may not write {tmp_path}")
    monkeypatch.undo()
    (tmp_path / "mine").mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert find_cache(tmp_path / "mine").doubts == (f"{tmp_path / 'mine'}: it belongs to another user",)


def test_without_a_home_there_is_no_cache(monkeypatch):
    monkeypatch.setattr("defian_edge.runtime.doctor.caches.cache_folder", lambda: None)
    assert find_cache().folder == ""


def test_a_cache_of_very_many_files_is_not_looked_through_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(caches, "MOST_LOOKED_AT", 10)
    for number in range(20):
        (tmp_path / f"{number:02}").mkdir()
        (tmp_path / f"{number:02}" / "kernel").write_bytes(b"12345")
    walked = []
    monkeypatch.setattr(caches, "doubt_about", lambda found: walked.append(found) or "")
    found = find_cache(tmp_path)
    assert (found.files, found.size, found.more) == (4, 20, True), "the folder itself, five below it and four files"
    assert len(walked) <= 11
    assert "4 files or more, 0.0 MiB or more" in dict(described(replace(BARE, cache=found)))["caches"]
    monkeypatch.setattr(caches, "MOST_LOOKED_AT", 41)
    found = find_cache(tmp_path)
    assert (found.files, found.size, found.more) == (20, 100, False)
