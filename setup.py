"""The rooms of the checkout as parts of the one package ``defian_edge``; all else stands in ``pyproject.toml``."""

from setuptools import find_packages, setup

ROOMS = ("benchmark", "calibration", "export", "models", "runtime", "selftest")
FOUND = find_packages(include=[pattern for room in ROOMS for pattern in (room, f"{room}.*")])

setup(
    packages=["defian_edge", *(f"defian_edge.{name}" for name in FOUND)],
    package_dir={f"defian_edge.{room}": room for room in ROOMS},
)
