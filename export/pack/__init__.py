"""The reference pack: what the PyTorch network makes of a few pictures, for the device, which has no PyTorch."""

DEFAULT_SIZE = 8.0
"""MB of a pack at most."""
