"""Fixtures and marks for every test file."""

import os
import sys
from pathlib import Path

import pytest

collect_ignore = ["references"]  # scripts that need other packages, and what they wrote


@pytest.fixture(scope="session")
def data_home():
    """The folder of real data that PROBGEN_DATA_HOME names."""
    folder = os.environ.get("PROBGEN_DATA_HOME")
    if not folder:
        pytest.skip("PROBGEN_DATA_HOME is not set; it names the folder of the real data sets")
    if not Path(folder).is_dir():
        pytest.skip(f"PROBGEN_DATA_HOME names no folder: {folder}")
    return Path(folder)


@pytest.fixture(scope="session")
def data_file(data_home):
    """A function from the name of a file in the folder of real data to its path."""

    def find(name):
        if not (data_home / name).is_file():
            pytest.skip(f"{name} is not in {data_home}")
        return data_home / name

    return find


@pytest.fixture(autouse=True)
def seeded():
    """Start torch's global generator, of which networks of a test's own get their weights."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
