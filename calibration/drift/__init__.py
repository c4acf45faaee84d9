"""The gate: pictures of a graph or an engine against those of the PyTorch reference."""
