"""Machines as the doctor finds them: a desktop and a Jetson on which nothing is wrong."""

from __future__ import annotations

from dataclasses import replace

from defian_edge.runtime.doctor.facts import Cache, Driver, Facts, Gpu, Jetson, Machine, Media, Package

GIB = 1 << 30
SITE = "/venv/lib/python3.12/site-packages"


def packages(**versions: str | tuple[str, int]) -> dict[str, Package]:
    """Installed packages, by name with ``_`` for ``-``: a version, or a version and a CUDA."""
    found = {}
    for key, given in versions.items():
        name = key.replace("_", "-")
        version, cuda = (given, None) if isinstance(given, str) else given
        found[name] = Package(name, version, SITE, cuda)
    return found


DESKTOP = Facts(
    machine=Machine(),
    driver=Driver(hardware=True, kernel="580.95.05", loaded=True, cuda=(13, 0), status=0),
    gpus=(
        Gpu(
            name="NVIDIA GeForce RTX 4090",
            source="NVML",
            uuid="GPU-1",
            capability=(8, 9),
            free=22 * GIB,
            total=24 * GIB,
            clock=210.0,
            most_clock=3105.0,
            power=20.5,
            power_limit=450.0,
            delivered_limit=450.0,
            temperature=41.0,
            slowdown=95.0,
        ),
    ),
    packages=packages(
        numpy="2.4.6",
        pillow="13.0.0",
        onnxruntime_gpu=("1.31.1", 13),
        tensorrt=("11.5.0", 13),
        tensorrt_cu13=("11.5.0", 13),
        tensorrt_rtx=("1.7.1", 13),
        pycuda=("2026.1", 13),
        cuda_bindings=("13.5.0", 13),
        nvidia_cuda_nvrtc=("13.5.37", 13),
        nvidia_ml_py="13.615.71",
        av="18.1.0",
    ),
    cache=Cache("/home/me/.cache/defian-edge", there=True, files=3, size=4 << 20),
    media=Media("62.28.102", ("libx264",), "", "6.1.1", ("libx264",)),
)
JETSON = replace(
    DESKTOP,
    machine=Machine((3, 10, 12), "python3", "Linux", "aarch64", "virtual environment with the system's packages"),
    driver=Driver(hardware=True, loaded=False, cuda=(12, 6), status=0),
    gpus=(Gpu("Orin", "CUDA driver", "", (8, 7), 5 * GIB, 8 * GIB, unified=True, clock=306.0, most_clock=1020.0),),
    jetson=Jetson(
        board="NVIDIA Jetson Orin Nano Developer Kit",
        l4t=(36, 4, 3),
        mode=("MAXN_SUPER", 2),
        modes={0: "15W", 1: "25W", 2: "MAXN_SUPER", 3: "7W"},
        temperatures={"tj": 48.0},
        passive={"tj": 99.0},
        tensorrt="10.3.0",
        tensorrt_python=True,
    ),
    packages=packages(numpy="1.26.4", pillow="10.2.0", pycuda=("2025.1", 12), cuda_bindings=("12.9.0", 12))
    | {"tensorrt": Package("tensorrt", "10.3.0", "/usr/lib/python3.10/dist-packages")},
    media=Media(),
)
BARE = Facts(
    driver=Driver(library="libcuda.so.1: cannot open shared object file"),
    packages=packages(numpy="2.4.6", pillow="13.0.0", onnxruntime="1.32.0"),
    cache=Cache("/home/me/.cache/defian-edge"),
)
"""A computer without a GPU, on which graphs run."""
