"""What tools write, in small: the forms of their outputs are real, the machines are made up, so that more goes wrong on
them. What real machines wrote is in ``doctor_records.py``.
"""

from __future__ import annotations

SMI_CONSUMER = """
==============NVSMI LOG==============

Timestamp                                 : Thu Nov 26 19:04:11 2026
Driver Version                            : 525.147.05
CUDA Version                              : 12.0

Attached GPUs                             : 1
GPU 00000000:0B:00.0
    Product Name                          : NVIDIA GeForce RTX 3070
    Product Brand                         : GeForce
    Persistence Mode                      : Disabled
    MIG Mode
        Current                           : N/A
        Pending                           : N/A
    GPU UUID                              : GPU-01234567-89ab-cdef-0123-456789abcdef
    Fan Speed                             : 62 %
    Performance State                     : P2
    Clocks Throttle Reasons
        Idle                              : Not Active
        Applications Clocks Setting       : Not Active
        SW Power Cap                      : Active
        HW Slowdown                       : Not Active
            HW Thermal Slowdown           : Not Active
            HW Power Brake Slowdown       : Not Active
        Sync Boost                        : Not Active
        SW Thermal Slowdown               : Not Active
        Display Clock Setting             : Not Active
    FB Memory Usage
        Total                             : 8192 MiB
        Reserved                          : 226 MiB
        Used                              : 7366 MiB
        Free                              : 600 MiB
    BAR1 Memory Usage
        Total                             : 256 MiB
        Used                              : 14 MiB
        Free                              : 242 MiB
    Temperature
        GPU Current Temp                  : 93 C
        GPU T.Limit Temp                  : N/A
        GPU Shutdown Temp                 : 98 C
        GPU Slowdown Temp                 : 95 C
        GPU Max Operating Temp            : 93 C
    Power Readings
        Power Management                  : Supported
        Power Draw                        : 219.61 W
        Power Limit                       : 180.00 W
        Default Power Limit               : 220.00 W
        Enforced Power Limit              : 180.00 W
        Min Power Limit                   : 100.00 W
    Clocks
        Graphics                          : 1605 MHz
        SM                                : 1605 MHz
        Memory                            : 6800 MHz
    Max Clocks
        Graphics                          : 2100 MHz
        SM                                : 2100 MHz
    Processes
        GPU instance ID                   : N/A
        Process ID                        : 4711
            Name                          : /usr/bin/python3
"""
SMI_DATA_CENTRE = """
==============NVSMI LOG==============

Timestamp                                 : Thu Nov 26 19:05:42 2026
Driver Version                            : 580.95.05
CUDA Version                              : 13.0

Attached GPUs                             : 2
GPU 00000000:17:00.0
    Product Name                          : NVIDIA H100 80GB HBM3
    GPU UUID                              : GPU-aaaaaaaa-0000-0000-0000-000000000001
    Fan Speed                             : N/A
    Clocks Event Reasons
        Idle                              : Active
        Applications Clocks Setting       : Not Active
        SW Power Cap                      : Not Active
        HW Slowdown                       : Not Active
            HW Thermal Slowdown           : Not Active
            HW Power Brake Slowdown       : Not Active
        Sync Boost                        : Not Active
        SW Thermal Slowdown               : Not Active
        Display Clock Setting             : Not Active
    Clocks Event Reasons Counters
        SW Power Capping                  : 3737587 us
        SW Thermal Slowdown               : 0 us
    FB Memory Usage
        Total                             : 81559 MiB
        Reserved                          : 551 MiB
        Used                              : 4 MiB
        Free                              : 81005 MiB
    Temperature
        GPU Current Temp                  : 31 C
        GPU T.Limit Temp                  : 55 C
        GPU Shutdown T.Limit Temp         : -8 C
        GPU Slowdown T.Limit Temp         : -2 C
        Memory Current Temp               : 38 C
    GPU Power Readings
        Average Power Draw                : 70.12 W
        Instantaneous Power Draw          : 71.20 W
        Current Power Limit               : 700.00 W
        Requested Power Limit             : 700.00 W
        Default Power Limit               : 700.00 W
    GPU Memory Power Readings
        Average Power Draw                : N/A
    Clocks
        Graphics                          : 345 MHz
        SM                                : 345 MHz
    Max Clocks
        SM                                : 1980 MHz
GPU 00000000:2A:00.0
    Product Name                          : NVIDIA H100 80GB HBM3
    GPU UUID                              : GPU-aaaaaaaa-0000-0000-0000-000000000002
    FB Memory Usage
        Total                             : 81559 MiB
        Free                              : 40000 MiB
"""
SMI_UNIFIED = """
Driver Version                            : 580.95.05
CUDA Version                              : 13.0

Attached GPUs                             : 1
GPU 0000000F:01:00.0
    Product Name                          : NVIDIA GB10
    GPU UUID                              : GPU-bbbbbbbb-0000-0000-0000-000000000001
    FB Memory Usage
        Total                             : N/A
        Free                              : N/A
    Clocks
        SM                                : 208 MHz
    GPU Power Readings
        Instantaneous Power Draw          : 4.52 W
        Current Power Limit               : N/A
"""
TEGRA_JETPACK_5 = (
    "11-26-2026 19:10:01 RAM 6334/15388MB (lfb 1770x4MB) SWAP 491/7694MB (cached 0MB) "
    "CPU [6%@729,9%@729,5%@729,off,off] EMC_FREQ 0%@2133 GR3D_FREQ 33%@611 VIC_FREQ 729 APE 174 CV0@-256C CPU@47.937C "
    "SOC2@46.093C SOC0@46.968C GPU@45.875C tj@48.875C SOC1@48.875C VDD_IN 5299mW/5120mW VDD_CPU_GPU_CV 773mW/770mW "
    "VDD_SOC 1424mW/1420mW"
)
TEGRA_JETPACK_6_AS_USER = (
    "11-26-2026 19:11:02 RAM 2147/7620MB (lfb 2x4MB) SWAP 1476/3810MB (cached 1MB) CPU [0%@729,2%@729,off,off] "
    "GR3D_FREQ 7% cpu@47.687C soc2@46.718C soc0@47.468C gpu@48.625C tj@48.75C soc1@48.25C VDD_IN 4556mW/4556mW "
    "VDD_CPU_GPU_CV 483mW/483mW VDD_SOC 1451mW/1451mW"
)
TEGRA_JETPACK_7 = (
    "11-26-2026 19:12:03 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201,10%@2201] EMC_FREQ 3%@3199 "
    "GR3D_FREQ 12%@[1300,1300] APE 174 cpu@52.968C/52.968C gpu@47.625C/47.625C "
    "VDD_GPU_SOC 5139mW/5139mW/5200mW VDD_CPU_CV 3268mW/3268mW/3300mW "
    "VIN_SYS_5V0 5500mW/5500mW/5600mW"
)
NVPMODEL_JETPACK_5 = "NVPM WARN: fan mode is not set!\nNV Fan Mode:quiet\nNV Power Mode: MODE_15W\n2\n"
NVPMODEL_JETPACK_6 = "NV Power Mode: MAXN_SUPER\n2\n"
NVPMODEL_REFUSED = "NVPM ERROR: Error opening /var/lib/nvpmodel/status: 13\n"
MODES_ORIN_NANO = """
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< POWER_MODEL ID=3 NAME=7W >
< PM_CONFIG DEFAULT=1 >
"""
RELEASE_JETPACK_5 = "# R35 (release), REVISION: 4.1, GCID: 1, BOARD: t186ref, EABI: aarch64, DATE: made up\n"
RELEASE_JETPACK_6 = "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic, EABI: aarch64, DATE: made up\n"
FFMPEG_VERSION = "ffmpeg version 6.1.1-3ubuntu5 Copyright (c) made up\nbuilt with gcc\n"
FFMPEG_ENCODERS = """Encoders:
 V..... = Video
 ------
 V....D a64multi             Multicolor charset (codec a64_multi)
 V....D libx264              H.264 (codec h264)
 V....D h264_nvenc           NVIDIA NVENC H.264 encoder (codec h264)
 A....D aac                  AAC
 A....D libx265              no video, in spite of its name
"""
