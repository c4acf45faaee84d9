"""A model repository for NVIDIA's Triton Inference Server, written from what an export made."""
