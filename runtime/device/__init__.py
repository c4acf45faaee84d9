"""The CUDA device through pycuda: its context, its memory, and graphs captured from streams."""
