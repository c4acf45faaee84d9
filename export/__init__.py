"""From a checkpoint to ONNX graphs, precisions and TensorRT engines."""
