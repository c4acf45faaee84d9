"""What runs on the device: sessions, image I/O and the manifest. Needs neither torch nor onnx."""
