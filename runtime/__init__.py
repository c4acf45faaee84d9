"""What runs on the device: sessions, image I/O and the manifest. Needs neither torch nor onnx."""

__version__ = "0.2.0"
"""The version of the whole package, said here and nowhere else: this folder is also copied to devices alone."""
