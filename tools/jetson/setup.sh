#!/usr/bin/env bash
# Makes a Jetson with JetPack 6.1 or newer ready to run engines: docs/jetson.md. What is done already is left alone, so a
# second run changes nothing and says so, and one that was interrupted is finished by the next.
#   tools/jetson/setup.sh [--dry-run] [--venv DIR] [--export] [--power]
# Exit status: 0 done, 1 done but the doctor found something red, 2 it cannot be done here (one line says why), 130
# interrupted. DEFIAN_ROOT is a folder that stands for / (tests).
if [ -z "${BASH_VERSION:-}" ]; then exec bash "$0" "$@"; fi
set -Eeuo pipefail
unset CDPATH

readonly LEAST_MAJOR=36 LEAST_MINOR=4   # Jetson Linux of JetPack 6.1, the first with TensorRT 10.3
readonly LEAST_MIB=2048                 # the environment and the folder in which pycuda is compiled
readonly LEAST_MIB_EXPORT=6144          # the same with PyTorch
checkout=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
base=${DEFIAN_ROOT:-}
venv=$checkout/.venv
dry=no export=no power=no changes=0
root=() can_root=yes

usage() {
    cat << END
usage: tools/jetson/setup.sh [--dry-run] [--venv DIR] [--export] [--power]

  --dry-run   say what would be done, and do nothing
  --venv DIR  the environment to make; default .venv in the checkout
  --export    install what export.py needs as well (PyTorch for the CPU), to build engines on this device
  --power     choose the power mode without a limit, and fix the clocks until the next start
END
}

fail() {
    printf 'error: %s\n' "$1" >&2
    if [ -n "${2:-}" ]; then printf '       %s\n' "$2" >&2; fi
    exit 2
}

# Runs a command that changes something, or says with --dry-run that it would.
change() {
    changes=$((changes + 1))
    if [ "$dry" = yes ]; then printf 'would run:'; else printf 'run:'; fi
    printf ' %q' "$@"
    printf '\n'
    [ "$dry" = yes ] || "$@"
}

read_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --dry-run) dry=yes ;;
            --export) export=yes ;;
            --power) power=yes ;;
            --venv)
                case ${2:-} in '' | -*) fail "--venv needs a folder." ;; esac
                venv=$2
                shift
                ;;
            -h | --help) usage; exit 0 ;;
            *) fail "There is no option or argument $1 here." "See: tools/jetson/setup.sh --help" ;;
        esac
        shift
    done
    venv=$(realpath -m -- "$venv")
}

require_jetson() {
    local machine line release=$base/etc/nv_tegra_release
    machine=$(uname -m)
    [ "$machine" = aarch64 ] || fail "Expected a Jetson (aarch64), found $machine." "Run it on the device itself."
    [ -r "$release" ] || fail "Expected a Jetson, found none: there is no /etc/nv_tegra_release."
    line=$(head -n 1 "$release")
    [[ $line =~ ^#\ R([0-9]+)\ \(release\),\ REVISION:\ ([0-9]+)\.([0-9]+) ]] \
        || fail "Expected '# R36 (release), REVISION: 4.3, ...' in /etc/nv_tegra_release, found '$line'."
    local major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]} patch=${BASH_REMATCH[3]}
    if ((major < LEAST_MAJOR || (major == LEAST_MAJOR && minor < LEAST_MINOR))); then
        fail "Expected Jetson Linux $LEAST_MAJOR.$LEAST_MINOR or newer (JetPack 6.1), found $major.$minor.$patch." \
            "Its TensorRT is older than 10.3. Flash JetPack 6.2 with SDK Manager; an Orin can have it, a Xavier cannot."
    fi
    echo "Jetson Linux $major.$minor.$patch"
}

require_user() {
    local owner
    owner=$(stat -c %U -- "$checkout")
    if [ "$(id -u)" = 0 ]; then
        [ "$owner" = root ] || fail "Expected to be run by $owner, whose checkout this is, found root." \
            "Run it without sudo: it calls sudo for what needs it."
    elif command -v sudo > /dev/null; then
        root=(sudo)
    else
        can_root=no
    fi
}

require_root() {
    [ "$can_root" = yes ] || fail "$1 needs root, and there is no sudo." "Run it as root."
}

require_room() {
    local folder=$venv least=$LEAST_MIB free
    [ "$export" = no ] || least=$LEAST_MIB_EXPORT
    while [ ! -d "$folder" ]; do folder=$(dirname -- "$folder"); done
    [ -w "$folder" ] && [ -w "$checkout" ] || fail "Expected to be allowed to write to $folder and $checkout."
    free=$(df -Pm -- "$folder" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$least" ] || fail "Expected $least MiB of free disk at $folder, found $free MiB." \
        "Free some, or choose another place with --venv DIR."
}

nvcc_is_here() { [ -x "$base/usr/local/cuda/bin/nvcc" ]; }

install_packages() {
    local name missing=()
    for name in python3-venv python3-dev build-essential python3-libnvinfer; do
        # shellcheck disable=SC2016 # the dollar is dpkg-query's
        dpkg-query -W -f '${Status}\n' "$name" 2> /dev/null | grep -qx 'install ok installed' || missing+=("$name")
    done
    nvcc_is_here || missing+=(nvidia-jetpack)
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get > /dev/null || fail "Expected apt-get, found none." "Install: ${missing[*]}"
    require_root "Installing ${missing[*]}"
    # A new Jetson updates itself in the background, and holds the lock meanwhile.
    local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq)
    change "${apt[@]}" update || fail "apt-get could not read the lists of packages." "Is there a network?"
    change "${apt[@]}" install -y "${missing[@]}" || fail "apt-get could not install ${missing[*]}." \
        "Is there a network, and NVIDIA's r36.4 in /etc/apt/sources.list.d/nvidia-l4t-apt-source.list?"
    [ "$dry" = yes ] || nvcc_is_here || fail "Expected /usr/local/cuda/bin/nvcc after that, found none."
}

make_environment() {
    if [ -e "$venv/pyvenv.cfg" ]; then
        grep -Eq '^include-system-site-packages *= *true' "$venv/pyvenv.cfg" \
            || fail "$venv does not see the system's packages, and so not JetPack's TensorRT." \
                "Remove it, or choose another place with --venv DIR."
    elif [ -e "$venv" ] && [ -n "$(ls -A -- "$venv")" ]; then
        fail "Expected a new folder or an environment at $venv, found something else." "Choose another: --venv DIR"
    fi
    # One that was interrupted has no pip yet; making it again completes it.
    if "$venv/bin/python" -m pip --version > /dev/null 2>&1; then return 0; fi
    change "$base/usr/bin/python3" -m venv --system-site-packages -- "$venv" || fail "The environment was not made."
}

extras() { if [ "$export" = yes ]; then echo device,video,export,cpu; else echo device,video; fi; }

cuda_major() {
    nvcc_is_here || { echo 12; return; }   # a dry run, before JetPack is there
    "$base/usr/local/cuda/bin/nvcc" --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p'
}

# What the environment was made from: if any of it changes, pip is run again.
wanted_state() {
    printf '%s, extras %s, CUDA %s, ' "$checkout" "$(extras)" "$(cuda_major)"
    sha256sum < "$checkout/pyproject.toml"
}

imports() { "$venv/bin/python" -c 'import numpy, PIL, av, tensorrt, pycuda.driver, cuda.bindings.driver'; }

environment_is_ready() {
    [ "$(cat -- "$venv/.defian-setup" 2> /dev/null)" = "$(wanted_state)" ] && imports 2> /dev/null
}

install_python_packages() {
    local torch pip=("$venv/bin/python" -m pip install -q)
    export PATH="$base/usr/local/cuda/bin:$PATH"   # pycuda comes as source, and its setup looks for nvcc there
    if [ "$export" = yes ]; then   # PyPI's own brings CUDA 13 and its bindings
        torch=$(sed -n 's/^TORCH ?= *//p' "$checkout/Makefile")
        change "${pip[@]}" "$torch" --index-url https://download.pytorch.org/whl/cpu \
            || fail "pip could not install $torch; what it says stands above." "Is there a network?"
    fi
    change "${pip[@]}" -e "${checkout}[$(extras)]" "cuda-bindings==$(cuda_major).*" \
        || fail "pip could not install the packages; what it says stands above." "Is there a network?"
    [ "$dry" = no ] || return 0
    imports || fail "The packages are installed, but do not load: see above." "$venv/bin/python -m runtime doctor"
    wanted_state > "$venv/.defian-setup.new"
    mv -- "$venv/.defian-setup.new" "$venv/.defian-setup"
}

# The number of the board's mode without a limit; nothing if it has none.
fastest_mode() {
    local name number
    for name in MAXN_SUPER MAXN; do
        number=$(sed -n "s/^ *< *POWER_MODEL ID=\([0-9]*\) NAME=$name *>.*/\1/p" "$base/etc/nvpmodel.conf")
        if [ -n "$number" ]; then echo "${number%%$'\n'*}"; return; fi
    done
}

set_power() {
    local fastest now limits least most
    [ -r "$base/etc/nvpmodel.conf" ] || fail "Expected the power modes in /etc/nvpmodel.conf, found none."
    require_root "Setting the power mode"
    fastest=$(fastest_mode)
    now=$("${root[@]}" nvpmodel -q 2> /dev/null | sed -n '/^NV Power Mode:/{n;p;}') || fail "nvpmodel -q failed."
    if [ -z "$fastest" ]; then
        echo "This board has no mode without a limit; it stays in mode $now."
    elif [ "$now" != "$fastest" ]; then
        # Some changes need a restart, and nvpmodel asks; it is not restarted from here.
        change "${root[@]}" nvpmodel -m "$fastest" < /dev/null || fail "nvpmodel did not take mode $fastest." \
            "It may need a restart: sudo nvpmodel -m $fastest"
    fi
    for limits in "$base"/sys/class/devfreq/*gpu "$base"/sys/class/devfreq/*ga10b; do
        [ -r "$limits/min_freq" ] || continue
        least=$(cat -- "$limits/min_freq") most=$(cat -- "$limits/max_freq")
        if [ "$least" != "$most" ]; then change "${root[@]}" jetson_clocks || fail "jetson_clocks failed."; fi
        return
    done
}

main() {
    trap '[ "$BASH_SUBSHELL" != 0 ] || fail "This failed: $BASH_COMMAND (line $LINENO)."' ERR
    trap 'echo "interrupted; the same command goes on" >&2; exit 130' INT TERM
    read_options "$@"
    require_jetson
    require_user
    environment_is_ready || require_room
    install_packages
    if ! environment_is_ready; then
        make_environment
        install_python_packages
    fi
    [ "$power" = no ] || set_power
    if [ "$changes" = 0 ]; then echo "Nothing to change: all of it is there."; fi
    if [ "$dry" = yes ]; then return 0; fi
    cd -- "$checkout"
    "$venv/bin/python" -m runtime doctor --no-smoke || return 1
    printf 'Ready. Next: source %q\n' "$venv/bin/activate"
}

main "$@"
