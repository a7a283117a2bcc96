"""Images as rows of height * width * channels integers, channels last."""

from os import PathLike
from typing import Any

import numpy as np
from sklearn import datasets as sklearn_datasets

from probgen._validation import check_choice, check_count
from probgen.datasets import _formats
from probgen.datasets._bunch import check_frames, make_image_bunch
from probgen.datasets._store import Source, obtain, read_arrays

SUBSETS = ("train", "test", "all")
FASHION_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
CIFAR10_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CIFAR10_FULL_NOTE = (
    " All 50,000 training and 10,000 test images in the original order, pixel for pixel."
)
CIFAR10_SUBSET_NOTE = (
    " A balanced subset of 10,000 training and 2,000 test images, re-encoded as JPEG: bits per"
    " dimension and FID do not compare with published numbers."
)


def _split_layout(*image_shape: int) -> dict[str, tuple]:
    """Arrays of a file with a train and a test part."""
    return {
        "x_train": (np.uint8, "n_train", *image_shape),
        "y_train": (np.integer, "n_train"),
        "x_test": (np.uint8, "n_test", *image_shape),
        "y_test": (np.integer, "n_test"),
    }


def _idx_urls(base: str, *checksums: str) -> dict[str, str]:
    """Addresses of four idx files and their checksums."""
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return {
        f"{base}/{name}-ubyte.gz": f"md5:{md5}" for name, md5 in zip(names, checksums, strict=True)
    }


MNIST = Source(
    "mnist.npz",
    _split_layout(28, 28),
    _idx_urls(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    _formats.mnist_arrays,
)
FASHION_MNIST = Source(
    "fashion_mnist.npz",
    _split_layout(28, 28),
    _idx_urls(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    _formats.mnist_arrays,
)
CIFAR10 = Source(
    "cifar10.npz",
    _split_layout(32, 32, 3),
    {
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz": (
            "md5:c32a1d4ab5d03f1284b67883e8d87530"
        )
    },
    _formats.cifar10_arrays,
    other_file="cifar10_subset.npz",
)


def load_digits(*, n_class: int = 10, return_X_y: bool = False, as_frame: bool = False) -> Any:
    """Load the handwritten digits that are installed with scikit-learn.

    1,797 images of 8 x 8 pixels with grey values 0 to 16, about 180 of each digit.

    Parameters
    ----------
    n_class : int, default=10
        Number of classes, 1 to 10: the digits 0 to n_class - 1.
    return_X_y : bool, default=False
        Whether to return (data, target) instead of a Bunch.
    as_frame : bool, default=False
        Whether data is a pandas DataFrame and target a Series.

    Returns
    -------
    digits : Bunch, or a pair (data, target)
        The Bunch of `sklearn.datasets.load_digits`, with data : float64 of shape (1797, 64), and in
        addition `image_shape` and `levels`, the number of grey levels (17).

    Raises
    ------
    ValueError
        If n_class is not in [1, 10].
    ImportError
        If as_frame=True and pandas is missing.

    Examples
    --------
    >>> from probgen.datasets import load_digits
    >>> digits = load_digits()
    >>> digits.data.shape, digits.image_shape, digits.levels
    ((1797, 64), (8, 8), 17)
    """
    check_count("n_class", n_class)
    if n_class > 10:
        raise ValueError(f"n_class must be an integer in [1, 10]; got {n_class!r}.")
    check_frames(as_frame)
    loaded = sklearn_datasets.load_digits(n_class=n_class, return_X_y=return_X_y, as_frame=as_frame)
    if not return_X_y:
        loaded.update(image_shape=(8, 8), levels=17)
    return loaded


def fetch_mnist(
    *,
    subset: str = "train",
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load MNIST, handwritten digits of 28 x 28 pixels with grey values 0 to 255.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        The 60,000 training images, the 10,000 test images, or both in this order.
    data_home : path-like, default=None
        Folder of `mnist.npz`; None looks in the folder of the environment variable
        PROBGEN_DATA_HOME and in the user's cache.
    download_if_missing : bool, default=True
        Whether to download the data (11 MB, with pooch) if they are not found.
    return_X_y : bool, default=False
        Whether to return (data, target) instead of a Bunch.
    as_frame : bool, default=False
        Whether data is a pandas DataFrame and target a Series.

    Returns
    -------
    mnist : Bunch, or a pair (data, target)
        data : uint8 of shape (n, 784), target : int64 of shape (n,), frame (None unless as_frame),
        images of shape (n, 28, 28), image_shape, levels (256), feature_names, target_names, DESCR,
        filename.

    Raises
    ------
    OSError
        If the file is not found and not downloaded.
    ValueError
        If the file holds something else, or an argument is out of range.
    ImportError
        If pooch or pandas is needed and missing.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, Gradient-based learning applied to document
    recognition, 1998.

    Examples
    --------
    >>> from probgen.datasets import fetch_mnist
    >>> mnist = fetch_mnist(subset="test")  # doctest: +SKIP
    >>> mnist.data.shape, mnist.data.dtype  # doctest: +SKIP
    ((10000, 784), dtype('uint8'))
    """
    return _load_split(
        MNIST,
        subset,
        [str(digit) for digit in range(10)],
        "MNIST: handwritten digits, 28 x 28 grey values 0 to 255, by Y. LeCun, C. Cortes and C. J."
        " C. Burges; 60,000 training and 10,000 test images in the original order.",
        data_home=data_home,
        download_if_missing=download_if_missing,
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def fetch_fashion_mnist(
    *,
    subset: str = "train",
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load Fashion-MNIST, articles of clothing of 28 x 28 pixels with grey values 0 to 255.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        The 60,000 training images, the 10,000 test images, or both in this order.
    data_home : path-like, default=None
        Folder of `fashion_mnist.npz`; None looks in the folder of the environment variable
        PROBGEN_DATA_HOME and in the user's cache.
    download_if_missing : bool, default=True
        Whether to download the data (31 MB, with pooch) if they are not found.
    return_X_y : bool, default=False
        Whether to return (data, target) instead of a Bunch.
    as_frame : bool, default=False
        Whether data is a pandas DataFrame and target a Series.

    Returns
    -------
    fashion : Bunch, or a pair (data, target)
        data : uint8 of shape (n, 784), target : int64 of shape (n,), frame (None unless as_frame),
        images of shape (n, 28, 28), image_shape, levels (256), feature_names, target_names, DESCR,
        filename.

    Raises
    ------
    OSError
        If the file is not found and not downloaded.
    ValueError
        If the file holds something else, or an argument is out of range.
    ImportError
        If pooch or pandas is needed and missing.

    References
    ----------
    H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST, 2017, arXiv:1708.07747.

    Examples
    --------
    >>> from probgen.datasets import fetch_fashion_mnist
    >>> fetch_fashion_mnist().target_names[9]  # doctest: +SKIP
    'Ankle boot'
    """
    return _load_split(
        FASHION_MNIST,
        subset,
        list(FASHION_NAMES),
        "Fashion-MNIST: articles of clothing, 28 x 28 grey values 0 to 255, by Zalando SE (MIT"
        " licence); 60,000 training and 10,000 test images in the original order.",
        data_home=data_home,
        download_if_missing=download_if_missing,
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def fetch_cifar10(
    *,
    subset: str = "train",
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load CIFAR-10, colour photographs of 32 x 32 pixels with values 0 to 255.

    If a folder holds `cifar10_subset.npz` and no `cifar10.npz`, this subset is loaded. It has fewer
    images, re-encoded as JPEG, so bits per dimension and FID do not compare with published numbers.
    `DESCR` names the version.

    Parameters
    ----------
    subset : {"train", "test", "all"}, default="train"
        The 50,000 training images, the 10,000 test images, or both in this order (10,000 and 2,000
        in the subset).
    data_home : path-like, default=None
        Folder of `cifar10.npz`; None looks in the folder of the environment variable
        PROBGEN_DATA_HOME and in the user's cache.
    download_if_missing : bool, default=True
        Whether to download the full data (170 MB, with pooch) if neither is found.
    return_X_y : bool, default=False
        Whether to return (data, target) instead of a Bunch.
    as_frame : bool, default=False
        Whether data is a pandas DataFrame and target a Series.

    Returns
    -------
    cifar : Bunch, or a pair (data, target)
        data : uint8 of shape (n, 3072), the channels red, green, blue varying fastest, target :
        int64 of shape (n,), frame (None unless as_frame), images of shape (n, 32, 32, 3),
        image_shape, levels (256), feature_names, target_names, DESCR, filename.

    Raises
    ------
    OSError
        If the file is not found and not downloaded.
    ValueError
        If the file holds something else, or an argument is out of range.
    ImportError
        If pooch or pandas is needed and missing.

    References
    ----------
    A. Krizhevsky, Learning multiple layers of features from tiny images, 2009.

    Examples
    --------
    >>> from probgen.datasets import fetch_cifar10
    >>> fetch_cifar10().image_shape  # doctest: +SKIP
    (32, 32, 3)
    """
    cifar = _load_split(
        CIFAR10,
        subset,
        list(CIFAR10_NAMES),
        "CIFAR-10: photographs, 32 x 32 pixels of red, green and blue values 0 to 255, by A."
        " Krizhevsky, V. Nair and G. Hinton.",
        data_home=data_home,
        download_if_missing=download_if_missing,
        return_X_y=return_X_y,
        as_frame=as_frame,
    )
    if not return_X_y:
        is_subset = cifar.filename.endswith(CIFAR10.other_file)
        if is_subset:
            cifar.DESCR += CIFAR10_SUBSET_NOTE
        else:
            cifar.DESCR += CIFAR10_FULL_NOTE
    return cifar


def _load_split(
    source: Source,
    subset: str,
    target_names: Any,
    descr: str,
    *,
    data_home: str | PathLike | None,
    download_if_missing: bool,
    return_X_y: bool,
    as_frame: bool,
) -> Any:
    """Return a subset of images that have a training and a test part."""
    check_choice("subset", subset, SUBSETS)
    check_frames(as_frame)
    path = obtain(source, data_home=data_home, download_if_missing=download_if_missing)
    parts = [subset]
    if subset == "all":
        parts = ["train", "test"]
    names = [f"x_{part}" for part in parts] + [f"y_{part}" for part in parts]
    arrays = read_arrays(path, source, names)
    images = _joined(arrays[: len(parts)])
    target = _joined(arrays[len(parts) :])
    return make_image_bunch(
        images,
        target.astype(np.int64),
        target_names=target_names,
        DESCR=descr,
        filename=str(path),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    """One array of one or more, without a copy of a single one."""
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays)
