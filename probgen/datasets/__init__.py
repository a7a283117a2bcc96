"""Embedded and downloadable data sets, as a Bunch of rows, targets and descriptions.

The loaders look for a file in `data_home`. Without `data_home` they look in the folder that the
environment variable PROBGEN_DATA_HOME names, which is only read, and in the user's cache
(`$XDG_CACHE_HOME/probgen`, by default `~/.cache/probgen`). A missing file is downloaded from its
source, verified by a checksum, and stored in `data_home` or the cache.
"""

from probgen.datasets._faces import fetch_frey_faces, fetch_lfw_people, fetch_olivetti_faces
from probgen.datasets._images import (
    fetch_cifar10,
    fetch_fashion_mnist,
    fetch_mnist,
    load_digits,
)
from probgen.datasets._tables import fetch_adbench, fetch_adult, fetch_binary, fetch_uci

__all__ = [
    "fetch_adbench",
    "fetch_adult",
    "fetch_binary",
    "fetch_cifar10",
    "fetch_fashion_mnist",
    "fetch_frey_faces",
    "fetch_lfw_people",
    "fetch_mnist",
    "fetch_olivetti_faces",
    "fetch_uci",
    "load_digits",
]
