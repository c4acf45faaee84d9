"""The TensorRT plugin of ``defian::MaxHessianEigenvalue`` and what it needs on the device.

It lives in runtime/ because an engine that holds the plugin cannot be loaded without it; the CUDA source
travels as package data in ``cuda/``. Building the binary ahead of time and measuring it is export.plugin's work.
"""

from __future__ import annotations

from .registration import PLUGIN_KEY, is_registered, provide, register

__all__ = ["PLUGIN_KEY", "is_registered", "provide", "register"]
