"""Building the eigenvalue kernel ahead of time, measuring it, and running it on the CPU."""

from __future__ import annotations
