"""TensorRT and TensorRT-RTX engines: preflight, loading, running one call or a stream of frames."""
