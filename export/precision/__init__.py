"""Precisions of one graph: FP32 as rewritten, FP16 by typing it, INT8 by Q/DQ on top of FP16."""
