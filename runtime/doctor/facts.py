"""What was found on the device, in plain types: the rules judge nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field

Version = tuple[int, ...]


@dataclass(frozen=True)
class Machine:
    """The interpreter and where it runs.

    Attributes:
        python: such as (3, 10, 12).
        executable: of the interpreter.
        system: ``Linux``, ``Windows`` or ``Darwin``.
        machine: ``x86_64``, ``aarch64`` and the like.
        environment: whether it is a virtual environment, and if so whether it sees the system's packages.
        container: whether this is a container.
        visible: ``CUDA_VISIBLE_DEVICES``; None if it is not set.
        library_path: ``LD_LIBRARY_PATH``; empty if it is not set.
    """

    python: Version = (3, 12, 0)
    executable: str = "python"
    system: str = "Linux"
    machine: str = "x86_64"
    environment: str = "system"
    container: bool = False
    visible: str | None = None
    library_path: str = ""


@dataclass(frozen=True)
class Driver:
    """NVIDIA's driver.

    Attributes:
        hardware: a device file of an NVIDIA GPU is there, or the PCI bus lists one.
        kernel: version of the kernel module, such as ``580.95.05``; empty if it is not loaded or does not say.
        loaded: the kernel module is loaded.
        library: why ``libcuda.so.1`` does not load; empty if it does; None if it was not tried to the end.
        cuda: the newest CUDA that the driver supports, such as (13, 0).
        status: what cuInit answered; 0 is success.
        nvml: why NVML or nvidia-smi lists no GPU, in its own words; empty if there is no reason.
    """

    hardware: bool = False
    kernel: str = ""
    loaded: bool = False
    library: str | None = ""
    cuda: tuple[int, int] | None = None
    status: int | None = None
    nvml: str = ""

    @property
    def works(self) -> bool:
        """The driver's library loads and starts."""
        return self.library == "" and self.status == 0


@dataclass(frozen=True)
class Gpu:
    """One GPU; what nobody tells is None. Sizes in bytes, clocks in MHz, power in watts, temperatures in Celsius."""

    name: str
    source: str
    uuid: str = ""
    capability: tuple[int, int] | None = None
    free: int | None = None
    total: int | None = None
    unified: bool = False
    clock: float | None = None
    most_clock: float | None = None
    power: float | None = None
    power_limit: float | None = None
    delivered_limit: float | None = None
    temperature: float | None = None
    slowdown: float | None = None
    throttles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Jetson:
    """What only a Jetson has.

    Attributes:
        board: what the device tree calls it.
        l4t: version of Jetson Linux, such as (36, 4, 3); empty if it is not told.
        mode: name and number of the power mode.
        modes: every mode of this board, name by number.
        mode_error: why the mode is not known.
        temperatures: Celsius by sensor.
        passive: Celsius from which on the kernel throttles, by sensor; the lowest where it has several.
        overcurrents: how often the over-current protection has slowed it down since it was started, by alarm.
        tensorrt: version of the TensorRT that JetPack installed; empty if there is none.
        tensorrt_python: JetPack's Python package of it is on the disk.
    """

    board: str
    l4t: Version = ()
    mode: tuple[str, int] | None = None
    modes: dict[int, str] = field(default_factory=dict)
    mode_error: str = ""
    temperatures: dict[str, float] = field(default_factory=dict)
    passive: dict[str, float] = field(default_factory=dict)
    overcurrents: dict[str, int] = field(default_factory=dict)
    tensorrt: str = ""
    tensorrt_python: bool = False

    @property
    def jetpack(self) -> int | None:
        """The major version of JetPack, by that of Jetson Linux."""
        return {32: 4, 34: 5, 35: 5, 36: 6, 38: 7, 39: 7}.get(self.l4t[0]) if self.l4t else None


@dataclass(frozen=True)
class Package:
    """A distribution that is installed.

    Attributes:
        name: as it is asked for.
        version: its own.
        folder: where it is installed.
        cuda: major version of the CUDA that it is built for; None if it is for none, or does not say.
        error: why it does not load; empty if it does, or if it was not tried.
    """

    name: str
    version: str
    folder: str = ""
    cuda: int | None = None
    error: str = ""


@dataclass(frozen=True)
class Cache:
    """A folder of this project's cache.

    Attributes:
        folder: its path; empty if there is no home to have one in.
        there: it exists.
        files: how many files it and what is below it hold.
        size: their bytes.
        more: there are more of them, which were not looked at.
        doubts: what is wrong with its rights, or with a file's below it.
    """

    folder: str = ""
    there: bool = False
    files: int = 0
    size: int = 0
    more: bool = False
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Media:
    """FFmpeg: the libraries in PyAV, which ``runtime`` uses, and the program, which it does not.

    Attributes:
        libraries: libavcodec's version in PyAV; empty without PyAV.
        encoders: of those that a video may be written with, the ones that PyAV has.
        error: why PyAV does not load.
        program: version of the program; empty without one.
        program_encoders: its encoders of those.
    """

    libraries: str = ""
    encoders: tuple[str, ...] = ()
    error: str = ""
    program: str = ""
    program_encoders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """All of it.

    Attributes:
        crashes: what ended a child process that asked for facts, by what it was doing; with ``driver`` also why a
            library of the driver's name gave no answer.
    """

    machine: Machine = field(default_factory=Machine)
    driver: Driver = field(default_factory=Driver)
    gpus: tuple[Gpu, ...] = ()
    jetson: Jetson | None = None
    packages: dict[str, Package] = field(default_factory=dict)
    cache: Cache = field(default_factory=Cache)
    media: Media = field(default_factory=Media)
    crashes: dict[str, str] = field(default_factory=dict)
