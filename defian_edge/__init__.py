"""DeFiAN super-resolution from a PyTorch checkpoint to TensorRT engines with a measured drift: the one importable name.

In a wheel the rooms (``export``, ``runtime``, ...) lie in this folder. In a checkout they lie beside it, so the
checkout's root is put on this package's path; ``import defian_edge.export`` is then ``export/`` of the checkout.
"""

import os

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 pathlib would be half of the import's time
if not os.path.isdir(os.path.join(_HERE, "runtime")):  # noqa: PTH112, PTH118
    __path__.append(os.path.dirname(_HERE))  # noqa: PTH120
