"""ONNX graph to TensorRT engine, and what the compiler says of it."""
