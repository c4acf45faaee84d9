"""The trainer: pictures to DeFiAN weights in the authors' format. ``python -m tools.train --help``; docs/training.md.

Training is no part of what runs on a device, so nothing outside ``tools/`` imports this package.
"""
