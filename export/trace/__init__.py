"""PyTorch network to ONNX graph, with the eigenvalue step as one custom operator."""
