"""The content of each data set, embedded or in its real file, against the publisher's facts."""

import numpy as np
import pytest
from sklearn import datasets as sklearn_datasets

from probgen import datasets
from probgen.datasets._table_list import ADBENCH, UCI

UCI_SHAPES = {
    "abalone": (4177, 7),
    "concrete": (1030, 8),
    "letter_recognition": (20000, 16),
    "naval": (11934, 16),
    "power_plant": (9568, 4),
    "protein": (45730, 9),
    "wine_quality": (6497, 11),
}
ADBENCH_TRUTH = {  # rows, columns and anomalies as the collection publishes them
    "annthyroid": (7200, 6, 534),
    "cardio": (1831, 21, 176),
    "letter": (1600, 32, 100),
    "musk": (3062, 166, 97),
    "pendigits": (6870, 16, 156),
    "satellite": (6435, 36, 2036),
    "shuttle": (49097, 9, 3511),
    "thyroid": (3772, 6, 93),
}


# Embedded


def test_digits_are_those_of_scikit_learn():
    ours, theirs = datasets.load_digits(), sklearn_datasets.load_digits()
    np.testing.assert_array_equal(ours.data, theirs.data)
    np.testing.assert_array_equal(ours.target, theirs.target)
    assert ours.image_shape == ours.images.shape[1:] == (8, 8)
    assert ours.levels == ours.data.max() + 1 == 17
    X, y = datasets.load_digits(n_class=3, return_X_y=True)
    assert X.shape == (len(y), 64)
    assert set(y) == {0, 1, 2}


def test_digits_as_frame():
    pytest.importorskip("pandas")
    digits = datasets.load_digits(as_frame=True)
    assert list(digits.frame.columns) == [*digits.feature_names, "target"]


def test_digits_refuse_another_number_of_classes():
    with pytest.raises(ValueError, match=r"n_class must be an integer in \[1, 10\]; got 11"):
        datasets.load_digits(n_class=11)
    with pytest.raises(ValueError, match="n_class must be an integer >= 1; got True"):
        datasets.load_digits(n_class=True)


# Real files


def test_mnist(data_home):
    mnist = datasets.fetch_mnist()
    assert mnist.data.shape == (60000, 784)
    assert mnist.data.dtype == np.uint8
    assert mnist.target.dtype == np.int64
    np.testing.assert_array_equal(mnist.target[:10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4])
    np.testing.assert_array_equal(
        np.bincount(mnist.target), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    )
    np.testing.assert_allclose(
        [mnist.data.mean() / 255, mnist.data.std() / 255], [0.1307, 0.3081], atol=5e-5
    )
    np.testing.assert_array_equal(mnist.images.reshape(60000, -1), mnist.data)
    assert (mnist.image_shape, mnist.levels, mnist.frame) == ((28, 28), 256, None)
    assert (len(mnist.feature_names), mnist.feature_names[29]) == (784, "pixel_1_1")
    assert mnist.target_names == list("0123456789")
    assert mnist.filename == str(data_home / "mnist.npz")
    assert "MNIST" in mnist.DESCR


def test_mnist_test_part_and_all(data_home):
    X, y = datasets.fetch_mnist(subset="test", return_X_y=True)
    assert X.shape == (10000, 784)
    np.testing.assert_array_equal(
        np.bincount(y), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )
    every = datasets.fetch_mnist(subset="all", data_home=str(data_home))
    assert every.data.shape == (70000, 784)
    np.testing.assert_array_equal(every.data[60000:], X)
    np.testing.assert_array_equal(every.target[60000:], y)


def test_fashion_mnist(data_home):
    fashion = datasets.fetch_fashion_mnist()
    assert fashion.data.shape == (60000, 784)
    np.testing.assert_allclose(
        [fashion.data.mean() / 255, fashion.data.std() / 255], [0.2860, 0.3530], atol=5e-5
    )
    np.testing.assert_array_equal(np.bincount(fashion.target), np.full(10, 6000))
    assert fashion.target_names[fashion.target[0]] == "Ankle boot"
    assert np.bincount(datasets.fetch_fashion_mnist(subset="test").target).tolist() == [1000] * 10


def test_cifar10(data_file):
    data_file("cifar10_subset.npz")
    cifar = datasets.fetch_cifar10(subset="test")
    assert cifar.data.shape == (len(cifar.target), 3072)
    assert cifar.image_shape == (32, 32, 3)
    assert cifar.feature_names[:4] == ["pixel_0_0_0", "pixel_0_0_1", "pixel_0_0_2", "pixel_0_1_0"]
    np.testing.assert_array_equal(cifar.data[5].reshape(32, 32, 3), cifar.images[5])
    assert np.ptp(np.bincount(cifar.target)) == 0
    with np.load(cifar.filename) as file:
        assert cifar.target_names == file["class_names"].tolist()
    assert "do not compare with published" in cifar.DESCR
    blue = cifar.images[..., 2]
    assert blue[cifar.target == 0].mean() > blue[cifar.target == 6].mean() + 30  # sky, and frogs


def test_olivetti_faces(data_home):
    faces = datasets.fetch_olivetti_faces()
    assert faces.data.shape == (400, 4096)
    assert faces.data.dtype == np.uint8
    assert (faces.data.min(), faces.data.max()) == (0, 242)
    np.testing.assert_array_equal(faces.target, np.arange(400) // 10)
    # Upright rows: a face is nearer to its mirror image than a face on its side would be.
    mean = faces.images.mean(axis=0)
    assert np.abs(mean - mean[:, ::-1]).mean() < 0.5 * np.abs(mean - mean[::-1]).mean()


def test_frey_faces(data_home):
    faces = datasets.fetch_frey_faces()
    assert faces.data.shape == (1965, 560)
    assert (faces.image_shape, faces.target) == ((28, 20), None)
    steps = np.abs(np.diff(faces.data.astype(float), axis=0)).mean()
    far = np.abs(faces.data[:-700].astype(float) - faces.data[700:]).mean()
    assert steps < 0.5 * far  # frames follow each other
    X, y = datasets.fetch_frey_faces(return_X_y=True)
    assert X.shape == (1965, 560)
    assert y is None


@pytest.mark.parametrize("name", UCI)
def test_uci(data_home, name):
    table = datasets.fetch_uci(name)
    assert table.data.shape == UCI_SHAPES[name]
    assert len(table.target) == len(table.data)
    assert len(table.feature_names) == table.data.shape[1]
    with np.load(table.filename) as file:
        np.testing.assert_array_equal(table.data, file["X"])
        np.testing.assert_array_equal(table.target, file["y"])
        if "feature_names" in file:
            assert table.feature_names == file["feature_names"].tolist()


@pytest.mark.parametrize(
    "name, n_splits", [("concrete", 20), ("naval", 20), ("power_plant", 20), ("protein", 5)]
)
def test_uci_splits(data_home, name, n_splits):
    table = datasets.fetch_uci(name)
    assert table.test_mask.shape == (n_splits, len(table.data))
    np.testing.assert_allclose(table.test_mask.mean(axis=1), 0.1, atol=0.001)
    assert len(np.unique(table.test_mask, axis=0)) == n_splits
    assert table.target_names == [UCI[name].target_name]


def test_uci_codes(data_home):
    abalone = datasets.fetch_uci("abalone")
    # As in abalone.names
    np.testing.assert_array_equal(np.bincount(abalone.sex), [1528, 1307, 1342])
    assert abalone.target.dtype == np.int64
    assert (abalone.target.min(), abalone.target.max()) == (1, 29)
    wine = datasets.fetch_uci("wine_quality")
    np.testing.assert_array_equal(np.bincount(wine.color), [1599, 4898])
    letters = datasets.fetch_uci("letter_recognition")
    # A, B and Z of the .names file
    np.testing.assert_array_equal(np.bincount(letters.target)[[0, 1, 25]], [789, 766, 734])
    assert letters.target_names[letters.target[0]] == "T"


@pytest.mark.parametrize(
    "name, shapes", [("dna", [1400, 600, 1186]), ("mushrooms", [2000, 500, 5624])]
)
def test_binary(data_home, name, shapes):
    parts = [
        datasets.fetch_binary(name, subset=subset).data for subset in ("train", "valid", "test")
    ]
    assert [len(part) for part in parts] == shapes
    assert all(part.dtype == np.uint8 and set(np.unique(part)) == {0, 1} for part in parts)
    X, y = datasets.fetch_binary(name, subset="all", return_X_y=True)
    np.testing.assert_array_equal(X, np.concatenate(parts))
    assert y is None


@pytest.mark.parametrize("name", ADBENCH)
def test_adbench(data_home, name):
    n, d, n_anomalies = ADBENCH_TRUTH[name]
    table = datasets.fetch_adbench(name)
    assert table.data.shape == (n, d)
    np.testing.assert_array_equal(np.bincount(table.target), [n - n_anomalies, n_anomalies])
    assert table.target_names == ["normal", "anomaly"]
    assert len(table.feature_names) == d


def test_adult(data_home):
    adult = datasets.fetch_adult()
    assert adult.data.shape == (32561, 14)
    first = [
        39.0,
        "State-gov",
        77516.0,
        "Bachelors",
        13.0,
        "Never-married",
        "Adm-clerical",
        "Not-in-family",
        "White",
    ]
    assert adult.data[0].tolist() == [*first, "Male", 2174.0, 0.0, 40.0, "United-States"]
    assert (adult.target == ">50K").sum() == 7841  # 24.08 %, as in adult.names
    missing = {
        name: sum(value != value for value in adult.data[:, j])
        for j, name in enumerate(adult.feature_names)
    }
    assert {k: n for k, n in missing.items() if n} == {
        "workclass": 1836,
        "occupation": 1843,
        "native-country": 583,
    }
    assert len(adult.categorical_features) == 8


def test_adult_as_frame(data_home):
    pytest.importorskip("pandas")
    adult = datasets.fetch_adult(as_frame=True)
    assert list(adult.frame.columns) == [*adult.feature_names, "income"]
    for name in adult.feature_names:
        assert adult.data[name].dtype == (
            "category" if name in adult.categorical_features else np.float64
        )
    assert adult.data.isna().sum().sum() == 1836 + 1843 + 583
    assert sorted(adult.target.cat.categories) == sorted(adult.target_names)
    assert adult.data["education"].cat.categories.size == 16
    X, y = datasets.fetch_adult(as_frame=True, return_X_y=True)
    assert X.equals(adult.data)
    assert y.equals(adult.target)
