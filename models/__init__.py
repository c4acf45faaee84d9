"""The PyTorch reference: the DeFiAN network, its checkpoints and the bundled weights."""
