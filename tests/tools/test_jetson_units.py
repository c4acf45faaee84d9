"""The systemd units of docs/jetson.md: systemd reads them without a word, and their command is one that we know."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import sys

from defian_edge.runtime.command import _parser
from tests.conftest import REPOSITORY, needed

FOLDER = REPOSITORY / "tools" / "jetson"
UNITS = sorted(path.name for path in FOLDER.glob("defian-upscale.*"))


def sections(name: str) -> configparser.ConfigParser:
    """A unit as its sections; a key that stands twice or a line that is none is an error."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]
    parser.read_string((FOLDER / name).read_text(encoding="utf-8"))
    return parser


def test_there_is_a_service_and_its_timer():
    assert UNITS == ["defian-upscale.service", "defian-upscale.timer"]
    assert sections("defian-upscale.timer")["Install"]["WantedBy"] == "timers.target"


def test_systemd_reads_them_without_a_word(tmp_path):
    program = needed("systemd-analyze", "systemd")
    for name in UNITS:
        text = (FOLDER / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("/opt/defian-edge/.venv/bin/python", sys.executable))
    paths = [str(tmp_path / name) for name in UNITS]
    done = subprocess.run([program, "verify", *paths], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_is_one_that_the_runtime_takes():
    python, *arguments = shlex.split(sections("defian-upscale.service")["Service"]["ExecStart"])
    assert python == "/opt/defian-edge/.venv/bin/python"
    assert arguments[:2] == ["-m", "runtime"]
    options = _parser().parse_args(arguments[2:])
    assert str(options.out) == sections("defian-upscale.service")["Service"]["ReadWritePaths"]


def test_the_page_makes_every_folder_and_user_that_the_service_names():
    page = (REPOSITORY / "docs" / "jetson.md").read_text(encoding="utf-8")
    service = (FOLDER / "defian-upscale.service").read_text(encoding="utf-8")
    for folder in set(re.findall(r"/srv/defian/\w+|/opt/defian-edge", service)):
        assert folder in page
    assert f"useradd --system {sections('defian-upscale.service')['Service']['User']}" in page
