"""Everything is imported below ``defian_edge``: from a wheel, from an editable install, and in the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from defian_edge import __all__ as public
from defian_edge import __version__
from tests.conftest import REPOSITORY
from tests.doubles.deployment import deploy
from tests.doubles.wheel import build_wheel, copy_sources, install, run
from tools.link_rooms import ROOMS

DATA = {
    "benchmark/report/page.css",
    "export/plugin/cpu_kernel.cpp",
    "models/weights/defian-s-x2.safetensors",
    "models/weights/defian-s-x4.safetensors",
    "py.typed",
    "runtime/plugin/cuda/kernel.cu",
    "selftest/schema.json",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module", params=["wheel", "editable"])
def python(request, tmp_path_factory) -> Path:
    """The Python of an environment in which the package is installed in one of both ways."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "wheel":
        return install(folder / "env", request.getfixturevalue("wheel"))
    return install(folder / "env", "-e", copy_sources(folder / "source"))


def test_a_wheel_holds_one_name_and_every_file_of_every_room(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"defian_edge", f"defian_edge-{__version__}.dist-info"}
    inside = {name.removeprefix("defian_edge/") for name in names if name.startswith("defian_edge/")}
    modules = {str(path.relative_to(REPOSITORY)) for room in ROOMS for path in (REPOSITORY / room).rglob("*.py")}
    assert modules - inside == set()
    assert DATA - inside == set()
    assert {name for name in inside if name.startswith(("tools/", "tests/"))} == set()


OURS = (
    "import defian_edge, defian_edge.benchmark.command, defian_edge.runtime.session, defian_edge.selftest.command\n"
    "from defian_edge.calibration.drift.metrics import psnr\n"
    "from defian_edge.export.pipeline import run_export\n"
    "from defian_edge.models.bundled import bundled_models\n"
    "assert 'defian-s-x2' in bundled_models()\n"
)
USERS = "\n".join(f"from {room} import errors as of_{room}\nassert of_{room}.WHOSE == 'user'" for room in ROOMS) + "\n"
STRAYS = (
    "import sys\nfrom pathlib import Path\n"
    f"strays = [name for name, module in sys.modules.items() if name.partition('.')[0] in {ROOMS!r}\n"
    "          and Path.cwd() not in Path(getattr(module, '__file__', None) or Path.cwd() / 'x').parents]\n"
    "assert strays == [], strays\n"
)


@pytest.fixture(params=["with __init__.py", "without"])
def users_folder(request, tmp_path) -> Path:
    """A folder with rooms of the user's own that have the names of ours, and a module that ours have, too."""
    for room in ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "errors.py").write_text("WHOSE = 'user'\n")
        if request.param == "with __init__.py":
            (tmp_path / room / "__init__.py").write_text("")
    return tmp_path


@pytest.mark.slowest
def test_a_users_folders_of_the_same_names_and_ours_leave_each_other_alone(python, users_folder):
    for code in (OURS + USERS, USERS + OURS):
        done = run(python, "-c", code + STRAYS, cwd=users_folder)
        assert done.returncode == 0, done.stderr


@pytest.mark.slowest
def test_the_commands_and_their_child_processes_run_beside_a_users_folders(python, users_folder):
    scripts, model = python.parent, "defian-s-x2"
    assert run(scripts / "defian", "--version", cwd=users_folder).stdout == f"defian-edge {__version__}\n"
    assert f"{model}.safetensors" in run(scripts / "defian-export", "--list-models", cwd=users_folder).stdout
    assert "--no-cuda-graphs" in run(scripts / "defian-run", "--help", cwd=users_folder).stdout
    assert "usage" in run(python, "-m", "defian_edge", "--help", cwd=users_folder).stdout
    options = ["--shape", "8x8", "--rounds", 1, "--seconds", 0, "--warm-up", 0, "--json", "bench.json"]
    timed = run(scripts / "defian-bench", model, *options, cwd=users_folder)  # its memory is measured in a child
    assert timed.returncode == 0, timed.stderr
    [candidate] = json.loads((users_folder / "bench.json").read_text())["candidates"]
    assert candidate["memory"]["host"]["peak"] > 0
    tested = run(scripts / "defian", "selftest", "--stage", "environment", "--out", "out", cwd=users_folder)
    [report] = (users_folder / "out").glob("*.json")
    [stage] = json.loads(report.read_text())["stages"]
    assert stage["status"] != "failed", tested.stdout
    assert "No module" not in stage["reason"]


def imported(code: str, folder: Path = REPOSITORY) -> dict[str, str]:
    """The modules that a program has imported when it ends, and the file of each."""
    tell = (
        "import atexit, sys\n"
        "def tell():\n"
        "    files = ((name, getattr(module, '__file__', None)) for name, module in list(sys.modules.items()))\n"
        "    print('\\n', dict((name, file) for name, file in files if file), sep='', file=sys.stderr)\n"
        "atexit.register(tell)\n"
    )
    done = subprocess.run([sys.executable, "-c", tell + code], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return eval(done.stderr.splitlines()[-1])  # noqa: S307 - what was printed above


def as_main(what: str, *arguments: str) -> str:
    """A program that does what ``python -m MODULE ARGUMENTS`` or ``python FILE ARGUMENTS`` does."""
    start = f"path({what!r}" if what.endswith(".py") else f"module({what!r}, alter_sys=True"
    return (
        f"import runpy\nsys.argv = {[what, *arguments]!r}\nsys.path.insert(0, '')\n"
        f"try: runpy.run_{start}, run_name='__main__')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
    )


def twice(files: dict[str, str]) -> set[str]:
    """Files of the rooms that were loaded under two names."""
    named: dict[str, set[str]] = {}
    folders = [REPOSITORY / room for room in (*ROOMS, "defian_edge", "tools")]
    for name, file in files.items():
        if name != "__main__" and any(folder in Path(file).parents for folder in folders):
            named.setdefault(file, set()).add(name)
    assert named
    return {file for file, names in named.items() if len(names) > 1}


@pytest.mark.parametrize(
    ("program", "both"),
    {
        "python -m runtime": (as_main("runtime", "--help"), set()),
        "python -m defian_edge": (as_main("defian_edge", "run", "--help"), set()),
        "python -m defian_edge.runtime": (as_main("defian_edge.runtime", "--help"), set()),
        # of selftest/ Python reads the docstring that is its __init__.py, to find __main__.py
        "python -m selftest": (as_main("selftest", "--dry-run"), {str(REPOSITORY / "selftest" / "__init__.py")}),
        "python -m tools.demo": (as_main("tools.demo", "--help"), set()),
        "python export.py": (as_main("export.py", "--list-models"), set()),
        "python bench.py": (as_main("bench.py", "--help"), set()),
        "python defian.py": (as_main("defian.py", "export", "--list-models"), set()),
    }.values(),
    ids=lambda value: value.split("'")[1] if isinstance(value, str) else "",
)
def test_no_module_is_loaded_under_two_names(program, both):
    assert twice(imported(program)) == both


def test_the_runtime_has_its_own_name_where_it_is_copied_alone(tmp_path):
    deploy(tmp_path)
    files = imported(as_main("runtime", "--help"), tmp_path)
    ours = {name for name, file in files.items() if tmp_path in Path(file).parents}
    assert len(ours) > 5
    assert {name.partition(".")[0] for name in ours} - {"__main__"} == {"runtime"}
    assert {name for name in files if name.startswith("defian_edge")} == set()


def test_importing_the_package_imports_no_other_package():
    new = set(imported("import defian_edge\ndefian_edge.__version__\ndir(defian_edge)")) - set(imported(""))
    assert {name.partition(".")[0] for name in new} - set(sys.stdlib_module_names) == {"defian_edge"}


def test_the_public_names_are_these_and_each_is_there():
    import defian_edge

    assert set(public) == {
        "Budget", "DefianError", "DriftBudget", "DriftReport", "EngineBackend", "EvaluationPair", "ExportOptions",
        "ExportResult", "GraphBackend", "Manifest", "PictureFormat", "Precision", "ServedModel", "Session",
        "ShapeProfile", "Target", "TiledSession", "Tiling", "TritonOptions", "__version__", "doctor",
        "evaluation_pairs", "export", "measure_drift", "open_session", "read_manifest", "triton_repository", "verify",
    }  # fmt: skip
    assert set(public) <= set(dir(defian_edge))
    for name in public:
        assert getattr(defian_edge, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'upscale'"):
        defian_edge.upscale  # noqa: B018 # pyright: ignore[reportAttributeAccessIssue]


FACE, ROOM = "import defian_edge as de\n", "from defian_edge.export import pipeline\n"
ORDERS = {
    "the face first": FACE + ROOM,
    "the room first": ROOM + FACE,
    "the room by its own name": f"import defian_edge.export\nimport defian_edge.export.pipeline\n{FACE}{ROOM}",
    "by importlib": f"import importlib\npipeline = importlib.import_module('defian_edge.export.pipeline')\n{FACE}",
    "after the room was asked for": f"{FACE}de.ExportOptions\n{ROOM}",
}


@pytest.mark.parametrize("order", ORDERS)
def test_export_is_a_function_and_the_room_of_its_name_can_be_imported_in_any_order(order):
    check = (
        "\nimport inspect, sys\n"
        "assert inspect.isfunction(de.export) and de.export.__module__ == 'defian_edge.api', de.export\n"
        "assert inspect.ismodule(sys.modules['defian_edge.export'])\n"
        "assert inspect.isfunction(pipeline.run_export)\n"
        "from defian_edge import export\nassert export is de.export\n"
        "from defian_edge.export.options import ExportOptions\nassert ExportOptions is de.ExportOptions\n"
        "assert de.export is export\n"
    )
    imported(ORDERS[order] + check)


def test_importing_the_package_takes_neither_torch_nor_onnx_and_a_call_says_what_is_missing():
    lacking = "import sys\nfor name in ('torch', 'onnx', 'onnx_ir', 'skimage'): sys.modules[name] = None\n"
    code = lacking + (
        "import defian_edge as de\n"
        "asked = [lambda: de.export('x', options=None), lambda: de.measure_drift('x', 'y', [])]\n"
        "for ask in [*asked, lambda: de.ExportOptions]:\n"
        "    try: ask()\n"
        "    except de.DefianError as error: assert \"pip install 'defian-edge[export]'\" in str(error), error\n"
        "    else: raise AssertionError('nothing was said')\n"
    )
    imported(code)
