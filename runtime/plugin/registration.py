"""Making the plugin known to TensorRT, which a session does when a manifest says that the engine needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import DefianError
from .hessian_plugin import PLUGIN_NAME, PLUGIN_NAMESPACE, PLUGIN_VERSION, creator_class

if TYPE_CHECKING:
    from collections.abc import Iterable

PLUGIN_KEY = f"{PLUGIN_NAMESPACE}::{PLUGIN_NAME}/{PLUGIN_VERSION}"
NEEDED = ("IPluginV3", "IPluginV3OneCore", "IPluginV3OneBuild", "IPluginV3OneRuntime", "IPluginCreatorV3One")


def is_registered(trt: Any) -> bool:  # noqa: ANN401 - a TensorRT module
    """Whether the TensorRT module's plugin registry already knows the plugin."""
    wanted = (PLUGIN_NAME, PLUGIN_VERSION, PLUGIN_NAMESPACE)
    creators = trt.get_plugin_registry().all_creators  # get_creator() may log an error for what is not there
    return any((each.name, each.plugin_version, each.plugin_namespace) == wanted for each in creators)


def register(trt: Any) -> None:  # noqa: ANN401
    """Register the plugin with ``tensorrt`` or ``tensorrt_rtx``; again is harmless.

    Raises:
        DefianError: the module has no IPluginV3, or refuses the creator.
    """
    if absent := [name for name in NEEDED if not hasattr(trt, name)]:
        found = f"{trt.__name__} {getattr(trt, '__version__', '(no version)')}"
        msg = f"The plugin {PLUGIN_KEY} needs TensorRT 10.3 or later with Python plugins; {found} has no {absent[0]}."
        raise DefianError(msg, "Install a newer TensorRT, or build the engine with: --eigen function")
    if is_registered(trt):
        return
    creator = creator_class(trt)()
    if not trt.get_plugin_registry().register_creator(creator, PLUGIN_NAMESPACE):
        raise DefianError(f"TensorRT's plugin registry refused {PLUGIN_KEY}.", "Its log says why.")
    _KEPT_ALIVE.append(creator)


# The registry holds a bare pointer for as long as the process lives, so the creator must live as long.
_KEPT_ALIVE: list[Any] = []


def provide(trt: Any, plugins: Iterable[str], rebuild: str = "") -> None:  # noqa: ANN401
    """Register what a manifest lists as needed, before TensorRT meets it in an engine and aborts.

    Args:
        trt: the ``tensorrt`` or ``tensorrt_rtx`` module that will load the engine.
        plugins: entries such as ``defian::MaxHessianEigenvalue/1``; none is fine.
        rebuild: the command that builds the engine again, for the error.

    Raises:
        DefianError: an entry is not a plugin of this version of defian-edge, or it cannot be registered.
    """
    wanted = list(plugins)
    if unknown := [name for name in wanted if name != PLUGIN_KEY]:
        msg = f"The engine needs the plugin {unknown[0]!r}, and this installation provides {PLUGIN_KEY!r} only."
        hint = f"Install the defian-edge version that built the engine, or rebuild the engine: {rebuild}"
        raise DefianError(msg, hint.removesuffix(": "))
    if wanted:
        register(trt)
