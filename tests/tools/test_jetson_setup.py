"""``tools/jetson/setup.sh`` on a root that looks like a Jetson's: a first run, a second one, and what it refuses."""

from __future__ import annotations

import re
import shlex
import shutil

import pytest

from tests.conftest import REPOSITORY
from tests.doubles.jetson_root import JetsonRoot, jetson_root, program

PAGE = (REPOSITORY / "docs" / "jetson.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^(?:sudo \S*/)?tools/jetson/setup\.sh(.*?)(?:  #.*)?$", PAGE, re.MULTILINE)
APT = "apt-get -o DPkg::Lock::Timeout=600 -qq"
NEEDED = "python3-venv python3-dev build-essential python3-libnvinfer nvidia-jetpack"


@pytest.fixture
def fresh(tmp_path) -> JetsonRoot:
    """Jetson Linux alone, as it is flashed."""
    return jetson_root(tmp_path / "a new jetson", jetpack=False)


@pytest.fixture
def prepared(tmp_path) -> JetsonRoot:
    """With JetPack, and without an environment."""
    return jetson_root(tmp_path / "a jetson", jetpack=True)


def refused(jetson: JetsonRoot, message: str, *options: str, **variables: str | None) -> None:
    """The script ends with status 2 and one line of error, and has changed nothing."""
    before = jetson.files()
    done = jetson.run(*options, interpreter="bash", **variables)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.splitlines()[0] == f"error: {message}"
    assert jetson.files() == before
    assert jetson.told() == []


def test_a_fresh_jetson_gets_packages_environment_and_python_packages_in_that_order(fresh):
    done = fresh.run()
    assert done.returncode == 0, done.stderr
    assert fresh.told() == [
        f"{APT} update",
        f"{APT} install -y {NEEDED}",
        f"python3 -m venv --system-site-packages -- {fresh.checkout}/.venv",
        f"python -m pip install -q -e {fresh.checkout}[device,video] cuda-bindings==12.*",
    ]
    assert f"the doctor in {fresh.checkout}" in done.stdout
    assert "Nothing to change" not in done.stdout


def test_the_second_run_changes_nothing_and_says_so(fresh):
    assert fresh.run("--power").returncode == 0
    fresh.told()
    before = fresh.files()
    done = fresh.run("--power")
    assert done.returncode == 0, done.stderr
    assert "Nothing to change: all of it is there." in done.stdout
    assert fresh.told() == []
    assert fresh.files() == before


def test_a_dry_run_changes_nothing_and_names_every_command(fresh):
    before = fresh.files()
    done = fresh.run("--dry-run", "--export", "--power")
    assert done.returncode == 0, done.stderr
    assert fresh.files() == before
    assert fresh.told() == []
    commands = [line for line in done.stdout.splitlines() if line.startswith("would run: ")]
    parts = (
        "update",
        NEEDED,
        "-m venv",
        "download.pytorch.org/whl/cpu",
        "pip install",
        "nvpmodel -m 2",
        "jetson_clocks",
    )
    assert [part in command for part, command in zip(parts, commands, strict=True)] == [True] * len(parts)


def test_what_is_installed_already_is_left_alone(prepared):
    assert prepared.run().returncode == 0
    assert not any("apt-get" in line for line in prepared.told())


def test_the_power_mode_without_a_limit_is_found_by_its_name_and_the_clocks_are_fixed(prepared):
    assert prepared.run("--power").returncode == 0
    assert [line for line in prepared.told() if line.startswith(("nvpmodel", "jetson_clocks"))] == [
        "nvpmodel -m 2",
        "jetson_clocks ",
    ]


def test_a_board_without_such_a_mode_stays_as_it_is(prepared):
    modes = prepared.root / "etc" / "nvpmodel.conf"
    modes.write_text(modes.read_text().replace("MAXN_SUPER", "40W"))
    done = prepared.run("--power")
    assert done.returncode == 0, done.stderr
    assert "This board has no mode without a limit; it stays in mode 1." in done.stdout
    assert not any(line.startswith("nvpmodel") for line in prepared.told())


def test_without_power_nobody_touches_the_mode(prepared):
    assert prepared.run().returncode == 0
    assert not any("nvpmodel" in line or "jetson_clocks" in line for line in prepared.told())


def test_for_exporting_pytorch_comes_first_and_for_the_cpu(prepared):
    assert prepared.run("--export").returncode == 0
    installed = [line for line in prepared.told() if "pip install" in line]
    assert installed[0].endswith("torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu")
    assert "[device,video,export,cpu]" in installed[1]


def test_more_asked_for_or_a_new_checkout_runs_pip_again_in_the_same_environment(prepared):
    assert prepared.run().returncode == 0
    prepared.told()
    assert prepared.run("--export").returncode == 0
    assert [line.split(" -q")[0] for line in prepared.told()] == ["python -m pip install"] * 2
    with (prepared.checkout / "pyproject.toml").open("a") as file:
        file.write("# newer\n")
    assert prepared.run("--export").returncode == 0
    assert [line.split(" -q")[0] for line in prepared.told()] == ["python -m pip install"] * 2


def test_what_the_doctor_finds_is_status_1(prepared):
    assert prepared.run(RED="1").returncode == 1


def test_another_machine_is_refused(prepared):
    refused(prepared, "Expected a Jetson (aarch64), found x86_64.", MACHINE="x86_64")


def test_another_computer_of_the_same_processor_is_refused(prepared):
    (prepared.root / "etc" / "nv_tegra_release").unlink()
    refused(prepared, "Expected a Jetson, found none: there is no /etc/nv_tegra_release.")


@pytest.mark.parametrize(
    ("release", "shown"), [("R35 (release), REVISION: 6.0", "35.6.0"), ("R36 (release), REVISION: 3.0", "36.3.0")]
)
def test_an_older_jetpack_is_refused(prepared, release, shown):
    (prepared.root / "etc" / "nv_tegra_release").write_text(f"# {release}, GCID: 1\n")
    refused(prepared, f"Expected Jetson Linux 36.4 or newer (JetPack 6.1), found {shown}.")


def test_a_release_file_that_nobody_can_read_is_refused(prepared):
    (prepared.root / "etc" / "nv_tegra_release").write_text("R36\n")
    message = "Expected '# R36 (release), REVISION: 4.3, ...' in /etc/nv_tegra_release, found 'R36'."
    refused(prepared, message)


def test_a_small_disk_is_refused_before_anything_is_done(fresh):
    refused(fresh, f"Expected 2048 MiB of free disk at {fresh.checkout}, found 2000 MiB.", FREE_MIB="2000")
    message = f"Expected 6144 MiB of free disk at {fresh.checkout}, found 6000 MiB."
    refused(fresh, message, "--export", FREE_MIB="6000")


def test_a_full_disk_does_not_matter_when_all_is_there(prepared):
    assert prepared.run().returncode == 0
    assert prepared.run(FREE_MIB="1").returncode == 0


def test_without_sudo_what_needs_root_is_refused(fresh, path_without_sudo):
    (fresh.folder / "programs" / "sudo").unlink()
    refused(fresh, f"Installing {NEEDED} needs root, and there is no sudo.", PATH=path_without_sudo)


@pytest.fixture
def path_without_sudo(tmp_path) -> str:
    """For ``fresh``: all that the script calls, and no sudo."""
    folder = tmp_path / "few"
    folder.mkdir()
    for name in ("bash", "dirname", "realpath", "head", "awk", "cat", "grep", "sed", "sha256sum", "ls", "mv", "tail"):
        (folder / name).symlink_to(shutil.which(name) or name)
    return f"{tmp_path / 'a new jetson' / 'programs'}:{folder}"


def test_as_root_it_needs_no_sudo_and_leaves_nothing_of_root_in_the_checkout_of_another(prepared, fresh):
    refused(prepared, "Expected to be run by me, whose checkout this is, found root.", USER_ID="0", OWNER="me")
    assert fresh.run("--power", USER_ID="0", HOME=None).returncode == 0
    assert fresh.told(sudo=True) == []


def test_without_a_network_the_first_step_that_needs_it_is_named(fresh):
    done = fresh.run(NO_NETWORK="1")
    assert done.returncode == 2
    assert "error: apt-get could not read the lists of packages." in done.stderr
    assert "Is there a network?" in done.stderr
    assert not (fresh.checkout / ".venv").exists()


def test_pip_without_a_network_is_an_error_and_the_next_run_goes_on(prepared):
    done = prepared.run(NO_NETWORK="1")
    assert done.returncode == 2
    assert "error: pip could not install the packages" in done.stderr
    prepared.told()
    assert prepared.run().returncode == 0
    assert [line.split(" -q")[0] for line in prepared.told()] == ["python -m pip install"]


def test_packages_that_do_not_load_are_an_error_and_no_finished_environment(prepared):
    done = prepared.run(DOES_NOT_LOAD="1")
    assert done.returncode == 2
    assert "error: The packages are installed, but do not load" in done.stderr
    assert prepared.run().returncode == 0
    assert sum("pip install" in line for line in prepared.told()) == 2


def test_an_environment_that_does_not_see_the_system_is_refused_and_left_alone(prepared):
    folder = prepared.folder / "mine"
    folder.mkdir()
    (folder / "pyvenv.cfg").write_text("include-system-site-packages = false\n")
    message = f"{folder} does not see the system's packages, and so not JetPack's TensorRT."
    refused(prepared, message, "--venv", str(folder))


def test_a_folder_of_other_things_is_refused_and_left_alone(prepared):
    folder = prepared.folder / "photos"
    folder.mkdir()
    (folder / "cat.jpg").touch()
    message = f"Expected a new folder or an environment at {folder}, found something else."
    refused(prepared, message, "--venv", str(folder))


def test_what_fails_without_a_word_of_its_own_is_one_line_as_well(prepared):
    done = prepared.run("--power", BROKEN="1")
    assert done.returncode == 2
    assert done.stderr == "error: nvpmodel -q failed.\n"
    program(prepared.folder / "programs" / "df", "exit 1")
    (prepared.checkout / ".venv" / ".defian-setup").unlink()
    done = prepared.run()
    assert done.returncode == 2
    assert re.fullmatch(r"error: This failed: .*df .*\n", done.stderr)


@pytest.mark.parametrize("options", [("--venv",), ("--pwer",), ("venv",)])
def test_bad_usage_is_status_2(prepared, options):
    wanted = (
        "--venv needs a folder." if options == ("--venv",) else f"There is no option or argument {options[0]} here."
    )
    refused(prepared, wanted, *options)


def test_interrupted_while_the_environment_is_made_the_same_command_goes_on(prepared):
    done = prepared.run(BREAK_OFF="1")
    assert done.returncode == 130
    assert "interrupted; the same command goes on" in done.stderr
    assert not (prepared.checkout / ".venv" / "bin" / "pip").exists()
    assert prepared.run().returncode == 0
    assert prepared.run().stdout.count("Nothing to change") == 1


def test_under_sh_it_runs_as_well(prepared):
    assert prepared.run(interpreter="sh").returncode == 0
    assert prepared.run("--help", interpreter="sh").stdout.startswith("usage: tools/jetson/setup.sh")


def test_the_page_shows_the_script_with_options_that_it_has(prepared):
    assert len(SHOWN) >= 3
    for options in SHOWN:
        words = [word.replace("/opt", str(prepared.folder)) for word in shlex.split(options)]
        done = prepared.run(*words, *(() if "--dry-run" in words else ("--dry-run",)))
        assert done.returncode == 0, done.stderr


def test_the_page_names_the_packages_that_the_script_installs(fresh):
    install = next(line for line in fresh.run("--dry-run").stdout.splitlines() if " install -y " in line)
    names = install.partition(" install -y ")[2].split()
    assert all(re.search(rf"\b{name}\b", PAGE) for name in names)
