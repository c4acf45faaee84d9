"""What real machines wrote, with where it was published: the lines that the doctor reads, in the tools' form with the
machines' own figures. Serial numbers, names of users and everything that nothing here reads are left out.
"""

from __future__ import annotations

H100_545 = """
==============NVSMI LOG==============

Timestamp                                 : Fri Feb 23 11:51:29 2024
Driver Version                            : 545.23.08
CUDA Version                              : 12.3

Attached GPUs                             : 1
GPU 00000000:19:00.0
    Product Name                          : NVIDIA H100 80GB HBM3
    MIG Mode
        Current                           : Disabled
    Fan Speed                             : N/A
    Performance State                     : P0
    Clocks Event Reasons
        Idle                              : Active
        Applications Clocks Setting       : Not Active
        SW Power Cap                      : Not Active
        HW Slowdown                       : Not Active
            HW Thermal Slowdown           : Not Active
            HW Power Brake Slowdown       : Not Active
        SW Thermal Slowdown               : Not Active
    FB Memory Usage
        Total                             : 81559 MiB
        Reserved                          : 328 MiB
        Used                              : 2 MiB
        Free                              : 81227 MiB
    BAR1 Memory Usage
        Total                             : 131072 MiB
        Free                              : 131071 MiB
    Temperature
        GPU Current Temp                  : 33 C
        GPU T.Limit Temp                  : 54 C
        GPU Slowdown T.Limit Temp         : -2 C
        Memory Current Temp               : 41 C
    GPU Power Readings
        Power Draw                        : 72.02 W
        Current Power Limit               : 700.00 W
        Requested Power Limit             : 700.00 W
        Default Power Limit               : 700.00 W
    GPU Memory Power Readings\x20
        Power Draw                        : 47.78 W
    Module Power Readings
        Power Draw                        : N/A
        Current Power Limit               : N/A
    Clocks
        SM                                : 345 MHz
    Applications Clocks
        Graphics                          : 1980 MHz
    Max Clocks
        SM                                : 1980 MHz
"""
"""An H100 SXM of a computing centre: https://github.com/PrincetonUniversity/gpu_programming_intro,
01_what_is_a_gpu/README.md."""
RTX_3090_525 = """
==============NVSMI LOG==============

Driver Version                            : 525.125.06
CUDA Version                              : 12.0

Attached GPUs                             : 1
GPU 00000000:01:00.0
    Product Name                          : NVIDIA GeForce RTX 3090
    Fan Speed                             : 70 %
    Performance State                     : P3
    Clocks Throttle Reasons
        Idle                              : Active
        SW Power Cap                      : Not Active
        HW Slowdown                       : Not Active
            HW Thermal Slowdown           : Not Active
    FB Memory Usage
        Total                             : 24576 MiB
        Reserved                          : 316 MiB
        Used                              : 1788 MiB
        Free                              : 22471 MiB
    Temperature
        GPU Current Temp                  : 58 C
        GPU T.Limit Temp                  : N/A
        GPU Shutdown Temp                 : 98 C
        GPU Slowdown Temp                 : 95 C
    Power Readings
        Power Management                  : Supported
        Power Draw                        : 83.48 W
        Power Limit                       : 350.00 W
        Default Power Limit               : 350.00 W
        Enforced Power Limit              : 350.00 W
    Clocks
        SM                                : 810 MHz
    Max Clocks
        SM                                : 2115 MHz
    Processes
        Process ID                        : 1624
            Name                          : /usr/lib/xorg/Xorg
"""
"""A desktop's card, with a driver before the names changed: the tests of ``src/modules/cuda.rs`` in a fork of
https://github.com/starship/starship."""
RTX_4060_595 = """
==============NVSMI LOG==============

Driver Version                                         : 595.71.05
CUDA Version                                           : 13.2

Attached GPUs                                          : 1
GPU 00000000:01:00.0
    GPU Power Readings
        Average Power Draw                             : N/A
        Instantaneous Power Draw                       : N/A
        Current Power Limit                            : 115.00 W
        Requested Power Limit                          : 115.00 W
        Default Power Limit                            : 115.00 W
    Power Samples
        Duration                                       : 116.99 sec
        Max                                            : 52.34 W
    Module Power Readings
        Current Power Limit                            : N/A
"""
"""The power of a small PC's card, ``nvidia-smi -q -d POWER``, which has wider columns and no power draw: notes on the
acceptance of a machine in a public repository of GitHub, June 2026."""
AGX_ORIN_JETPACK_5 = (
    "04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) SWAP 19/31400MB (cached 0MB) CPU [0%@729,0%@729] "
    "EMC_FREQ 0%@2133 GR3D_FREQ 0%@[0,0] VIC_FREQ 729 APE 174 CV0@-256C CPU@44.562C Tboard@32C SOC2@40.093C "
    "Tdiode@33C GPU@-256C tj@44.343C VDD_GPU_SOC 2340mW/2340mW VDD_CPU_CV 390mW/390mW VIN_SYS_5V0 4025mW/4025mW "
    "NC 0mW/0mW VDDQ_VDD2_1V8AO 301mW/301mW NC 0mW/0mW"
)
"""As root, with the GPU switched off: https://github.com/GDWR/jetson_exporter/issues/14."""
AGX_ORIN_JETPACK_6 = (
    "10-05-2026 21:03:35 RAM 5137/62841MB (lfb 2x4MB) SWAP 0/31420MB (cached 0MB) CPU [1%@729,25%@729] GR3D_FREQ 0% "
    "cpu@52.875C soc2@48.656C soc0@49.062C tj@52.875C soc1@49.031C VDD_GPU_SOC 3178mW/3178mW "
    "VDD_CPU_CV 794mW/794mW VIN_SYS_5V0 4543mW/4543mW"
)
"""As a user, Jetson Linux 36.4.7: the report of an audit in https://github.com/osmosishk/driveragent-agx; the two below
as well."""
AGX_ORIN_JETPACK_6_MODE = "NV Power Mode: MAXN\n0\n"
AGX_ORIN_JETPACK_6_RELEASE = "# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, EABI: aarch64\n"
ORIN_NANO_JETPACK_7 = (
    "09-19-2026 13:33:03 RAM 2845/7486MB (lfb 33x4MB) CPU [1%@729,0%@729] EMC_FREQ 3%@665 GR3D_FREQ 0%@[305] "
    "NVDEC0 off VIC off OFA off APE 200 cpu@45.375C/45.812C gpu@46.562C/46.843C tj@46.562C/46.843C "
    "VDD_IN 3462mW/3522mW/3582mW VDD_CPU_GPU_CV 442mW/483mW/523mW VDD_SOC 1127mW/1127mW/1127mW"
)
"""An Orin Nano Super of JetPack 7.2.1: the report of its environment in
https://github.com/vdavid21/edge-inference-benchmark-lab, and so the three below."""
ORIN_NANO_JETPACK_7_MODE = "NV Power Mode: 25W\n1\n"
ORIN_NANO_JETPACK_7_MODES = """< POWER_MODEL ID=0 NAME=15W >
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
"""
ORIN_NANO_JETPACK_7_RELEASE = "# R39 (release), REVISION: 2.1, GCID: 46758480, BOARD: generic, EABI: aarch64\n"
