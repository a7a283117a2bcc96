"""Faces as rows of height * width * channels uint8 pixels, channels last."""

from os import PathLike
from typing import Any

import numpy as np
from sklearn import datasets as sklearn_datasets

from probgen._validation import check_count, check_real
from probgen.datasets import _formats
from probgen.datasets._bunch import check_frames, make_image_bunch
from probgen.datasets._store import Source, data_folders, obtain, read_arrays

OLIVETTI_FACES = Source(
    "olivetti_faces.npz",
    {"x": (np.uint8, "n", 64, 64), "y": (np.integer, "n")},
    {},
    _formats.olivetti_arrays,
    download=lambda: [sklearn_datasets.fetch_olivetti_faces().images],
    digest="eaea10b4668581dbc8df6af37b659a152d43b01c94eec522392a122109a95652",
)
FREY_FACES = Source(
    "frey_faces.npz",
    {"x": (np.uint8, "n", 28, 20)},
    {"https://cs.nyu.edu/~roweis/data/frey_rawface.mat": None},
    _formats.frey_arrays,
    digest="d23d1769cb1b062185419ca53ad3ab8076d0625e927d2765f604f1fa20e8e14c",
)


def fetch_olivetti_faces(
    *,
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load the Olivetti faces, ten images of each of 40 people, with 64 x 64 grey values.

    The values are 0 to 242. `sklearn.datasets.fetch_olivetti_faces`, which downloads the file,
    returns the same images divided by 242.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder of `olivetti_faces.npz`; None looks in the folder of the environment variable
        PROBGEN_DATA_HOME and in the user's cache.
    download_if_missing : bool, default=True
        Whether to download the data (4 MB) if they are not found.
    return_X_y : bool, default=False
        Whether to return (data, target) instead of a Bunch.
    as_frame : bool, default=False
        Whether data is a pandas DataFrame and target a Series.

    Returns
    -------
    faces : Bunch, or a pair (data, target)
        data : uint8 of shape (400, 4096), target : int64 of shape (400,), the person, frame (None
        unless as_frame), images of shape (400, 64, 64), image_shape, levels (256), feature_names,
        target_names, DESCR, filename.

    Raises
    ------
    OSError
        If the file is not found and not downloaded.
    ValueError
        If the file holds something else.
    ImportError
        If pandas is needed and missing.

    References
    ----------
    F. S. Samaria and A. C. Harter, Parameterisation of a stochastic model for human face
    identification, 1994.

    Examples
    --------
    >>> from probgen.datasets import fetch_olivetti_faces
    >>> fetch_olivetti_faces().data.shape  # doctest: +SKIP
    (400, 4096)
    """
    check_frames(as_frame)
    path = obtain(OLIVETTI_FACES, data_home=data_home, download_if_missing=download_if_missing)
    images, target = read_arrays(path, OLIVETTI_FACES, ["x", "y"])
    return make_image_bunch(
        images,
        target.astype(np.int64),
        target_names=[str(person) for person in range(40)],
        DESCR=(
            "Olivetti faces: 40 people, ten images each and in order, 64 x 64 grey values 0 to 242,"
            " by AT&T Laboratories Cambridge (credit required), cropped by S. Roweis."
        ),
        filename=str(path),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def fetch_frey_faces(
    *,
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load the Frey faces, 1,965 frames of a video of one face, with 28 x 20 grey values.

    The values are 0 to 255. Neighbouring frames are nearly equal: split into blocks of frames, not
    at random.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder of `frey_faces.npz`; None looks in the folder of the environment variable
        PROBGEN_DATA_HOME and in the user's cache.
    download_if_missing : bool, default=True
        Whether to download the data (1 MB, with pooch) if they are not found.
    return_X_y : bool, default=False
        Whether to return (data, None) instead of a Bunch; there is no target.
    as_frame : bool, default=False
        Whether data is a pandas DataFrame.

    Returns
    -------
    faces : Bunch, or a pair (data, None)
        data : uint8 of shape (1965, 560), target : None, frame (None unless as_frame), images of
        shape (1965, 28, 20), image_shape, levels (256), feature_names, DESCR, filename.

    Raises
    ------
    OSError
        If the file is not found and not downloaded.
    ValueError
        If the file holds something else.
    ImportError
        If pooch or pandas is needed and missing.

    References
    ----------
    S. Roweis, L. Saul and G. Hinton, Global coordination of local linear models, 2002.

    Examples
    --------
    >>> from probgen.datasets import fetch_frey_faces
    >>> fetch_frey_faces().image_shape  # doctest: +SKIP
    (28, 20)
    """
    check_frames(as_frame)
    path = obtain(FREY_FACES, data_home=data_home, download_if_missing=download_if_missing)
    (images,) = read_arrays(path, FREY_FACES, ["x"])
    return make_image_bunch(
        images,
        None,
        DESCR=(
            "Frey faces: frames of a video of one face, in order, 28 x 20 grey values 0 to 255, by"
            " B. Frey and S. Roweis; split into blocks, for neighbouring frames are nearly equal."
        ),
        filename=str(path),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def fetch_lfw_people(
    *,
    min_faces_per_person: int = 0,
    resize: float | None = 0.5,
    color: bool = False,
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load Labeled Faces in the Wild through scikit-learn's loader, as rows of uint8.

    Parameters
    ----------
    min_faces_per_person : int, default=0
        People with fewer images are left out.
    resize : float or None, default=0.5
        Factor on the height and width of the central part of 125 x 94 pixels, at least 0.02.
    color : bool, default=False
        Whether images have the channels red, green and blue, rather than one of their rounded mean.
    data_home : path-like, default=None
        Folder of `lfw_home`; None looks in the folder of the environment variable
        PROBGEN_DATA_HOME, in probgen's cache and in scikit-learn's, and downloads to the last.
    download_if_missing : bool, default=True
        Whether to download the data (200 MB) if they are not found.
    return_X_y : bool, default=False
        Whether to return (data, target) instead of a Bunch.
    as_frame : bool, default=False
        Whether data is a pandas DataFrame and target a Series.

    Returns
    -------
    faces : Bunch, or a pair (data, target)
        data : uint8 of shape (n, height * width * channels), target : int64 of shape (n,), the
        person, frame (None unless as_frame), images, image_shape, levels (256), feature_names,
        target_names, DESCR.

    Raises
    ------
    OSError
        If the files are not found and not downloaded.
    ValueError
        If an argument is out of range, or no person has min_faces_per_person images.
    ImportError
        If Pillow or pandas is needed and missing.

    References
    ----------
    G. B. Huang, M. Ramesh, T. Berg and E. Learned-Miller, Labeled faces in the wild, 2007.

    Examples
    --------
    >>> from probgen.datasets import fetch_lfw_people
    >>> fetch_lfw_people(min_faces_per_person=70).image_shape  # doctest: +SKIP
    (62, 47)
    """
    check_count("min_faces_per_person", min_faces_per_person, low=0)
    if resize is not None:
        check_real("resize", resize, low=0.02, hint="None keeps the size.")
    check_frames(as_frame)
    folders = data_folders(data_home)
    if not data_home:
        folders = [folder for folder in folders if (folder / "lfw_home").is_dir()]
    sklearn_home = None  # of scikit-learn's own choice
    if folders:
        sklearn_home = str(folders[0])
    try:
        loaded = sklearn_datasets.fetch_lfw_people(
            data_home=sklearn_home,
            min_faces_per_person=min_faces_per_person,
            resize=resize,
            color=color,
            download_if_missing=download_if_missing,
        )
    except OSError as error:
        home = sklearn_home or sklearn_datasets.get_data_home()
        raise OSError(
            f"Labeled Faces in the Wild are not complete in {home}/lfw_home ({error}); put "
            "lfw-funneled.tgz, pairs.txt, pairsDevTrain.txt and pairsDevTest.txt there."
        ) from error
    return make_image_bunch(
        np.rint(loaded.images * 255.0).astype(np.uint8),
        loaded.target.astype(np.int64),
        target_names=list(loaded.target_names),
        DESCR=loaded.DESCR,
        return_X_y=return_X_y,
        as_frame=as_frame,
    )
