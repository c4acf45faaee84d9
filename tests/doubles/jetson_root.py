"""A root that looks like a Jetson's to ``tools/jetson/setup.sh``: files, and programs that note what they are told.

The programs are shell scripts before all others on the ``PATH``. What they would do to a machine they do to a folder of
state: a package is installed if its name stands in ``state/packages``, pip has been run if ``state/pip`` is there.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RELEASE = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025"
)
MODES = """< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=1 >
"""
GPU = "sys/class/devfreq/17000000.gpu"
JETPACK = ("python3-venv", "python3-dev", "build-essential", "python3-libnvinfer")
PROGRAMS = {
    "uname": "echo ${MACHINE:-aarch64}",
    "id": "echo ${USER_ID:-1000}",
    "stat": "echo ${OWNER:-root}",
    "df": "echo; echo x 99999 1 ${FREE_MIB:-50000} 1% /",
    "sudo": 'note "$@"; "$@"',
    "dpkg-query": 'grep -qx "${@: -1}" "$STATE/packages" && echo "install ok installed"',
    "apt-get": """
        note "$@"
        [ -z "${NO_NETWORK:-}" ] || exit 100
        case " $* " in *" install "*)
            printf '%s\\n' "$@" >> "$STATE/packages"
            case "$*" in *nvidia-jetpack*) cp "$STATE/nvcc" "$DEFIAN_ROOT/usr/local/cuda/bin/nvcc" ;; esac
        esac""",
    "nvpmodel": """
        [ -z "${BROKEN:-}" ] || exit 1
        if [ "$1" = -q ]; then printf "NVPM WARN: no fan mode\\n\\nNV Power Mode: x\\n"; exec cat "$STATE/mode"; fi
        note "$@"
        echo "$2" > "$STATE/mode"
    """,
    "jetson_clocks": """
        note "$@"
        cp "$GPU/max_freq" "$GPU/min_freq"
    """,
}
PYTHON = r"""
here=$(dirname "$0")
case "$*" in
    "-m venv --system-site-packages -- "*)
        note "$@"
        mkdir -p "${@: -1}/bin"
        cp "$0" "${@: -1}/bin/python"
        echo 'include-system-site-packages = true' > "${@: -1}/pyvenv.cfg"
        [ -z "${BREAK_OFF:-}" ] || { kill -INT 0; sleep 30; }
        touch "${@: -1}/bin/pip"
        ;;
    "-m pip --version") [ -e "$here/pip" ] ;;
    "-m pip install "*)
        note "$@"
        [ -z "${NO_NETWORK:-}" ] || exit 1
        command -v nvcc > /dev/null || exit 3
        touch "$STATE/pip"
        ;;
    "-c import "*) [ -e "$STATE/pip" ] && [ -z "${DOES_NOT_LOAD:-}" ] ;;
    "-m runtime doctor --no-smoke") echo "the doctor in $PWD"; exit "${RED:-0}" ;;
    *) echo "not expected: $*"; exit 99 ;;
esac
"""


@dataclass(frozen=True)
class JetsonRoot:
    """A checkout, a root and a state folder, in a folder whose name has a space."""

    folder: Path

    @property
    def checkout(self) -> Path:
        return self.folder / "check out"

    @property
    def root(self) -> Path:
        return self.folder / "root"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def run(
        self, *options: str, interpreter: str = "bash", **variables: str | None
    ) -> subprocess.CompletedProcess[str]:
        """The script in a session of its own, with further environment variables; None takes one away."""
        environment: dict[str, str | None] = {
            **os.environ,
            "PATH": f"{self.folder / 'programs'}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "DEFIAN_ROOT": str(self.root),
            "GPU": str(self.root / GPU),
            "STATE": str(self.state),
            **variables,
        }
        given = {name: value for name, value in environment.items() if value is not None}
        return subprocess.run(
            [str(shutil.which(interpreter)), str(self.checkout / "tools/jetson/setup.sh"), *options],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=given,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def told(self, *, sudo: bool = False) -> list[str]:
        """What was told to programs that change something, or to sudo, one call a line; and forget it."""
        path = self.state / "told"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line for line in lines if line.startswith("sudo ") == sudo]

    def files(self) -> dict[str, bytes]:
        """Everything that there is, by name, but what the programs were told."""
        found = (path for path in self.folder.rglob("*") if path.is_file() and path != self.state / "told")
        return {str(path): path.read_bytes() for path in found}


def jetson_root(folder: Path, *, jetpack: bool) -> JetsonRoot:
    """Lay one out.

    Args:
        folder: a new one.
        jetpack: whether JetPack's packages and the others that are needed are installed already.
    """
    made = JetsonRoot(folder)
    (made.checkout / "tools" / "jetson").mkdir(parents=True)
    for name in ("tools/jetson/setup.sh", "pyproject.toml", "Makefile"):
        shutil.copy(REPOSITORY / name, made.checkout / name)
    made.state.mkdir()
    (made.state / "packages").write_text("\n".join(JETPACK) + "\n" if jetpack else "")
    (made.state / "mode").write_text("1\n")
    devfreq = made.root / GPU
    for part in (devfreq, made.root / "etc", made.root / "usr/bin", made.root / "usr/local/cuda/bin"):
        part.mkdir(parents=True)
    (devfreq / "min_freq").write_text("306000000\n")
    (devfreq / "max_freq").write_text("1020000000\n")
    (made.root / "etc" / "nv_tegra_release").write_text(f"{RELEASE}\n# KERNEL_VARIANT: oot\n")
    (made.root / "etc" / "nvpmodel.conf").write_text(MODES)
    program(made.root / "usr/bin/python3", PYTHON)
    program(made.state / "nvcc", 'echo "Cuda compilation tools, release 12.6, V12.6.68"')
    if jetpack:
        shutil.copy(made.state / "nvcc", made.root / "usr/local/cuda/bin")
    for name, source in PROGRAMS.items():
        program(made.folder / "programs" / name, source)
    return made


def program(path: Path, source: str) -> None:
    """Write a shell script that can ``note`` how it was called."""
    path.parent.mkdir(parents=True, exist_ok=True)
    note = 'note() { echo "$(basename "$0") $*" >> "$STATE/told"; }'
    path.write_text(f"#!/bin/bash\n{note}\n{source}\n", encoding="utf-8")
    path.chmod(0o755)
