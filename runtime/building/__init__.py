"""Building an engine from a graph: for ``export.py``, and for a device that has to build one again."""
