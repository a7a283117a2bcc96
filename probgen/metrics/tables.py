"""How draws of a table compare with its rows: column by column, pair by pair, row by row."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance
from sklearn.utils import Bunch

from probgen._validation import check_generator
from probgen.metrics._columns import ComparedColumn, associations, read_columns

BLOCK_NUMBERS = 2**22  # distances in a block
NO_SHARE = 0.5  # of nearest rows, where draws do not favour the training rows


def column_distances(real: Any, synthetic: Any, *, categorical_features: Iterable = ()) -> Bunch:
    """Return how far each column of draws is from the same column of real rows.

    Categories are compared by the total variation of their shares, numbers by the Wasserstein
    distance of their distributions.

    Parameters
    ----------
    real : frame or array-like of shape (n, n_columns)
        Rows of pandas, polars or NumPy. Text, booleans and categories of a frame are categories;
        numbers, dates and durations are numbers.
    synthetic : frame or array-like of shape (m, n_columns)
        Draws with the same columns, in any order if they have names.
    categorical_features : iterable of str or int, default=()
        Columns of numbers, such as codes, to compare as categories: names, or indices of arrays.

    Returns
    -------
    distances : Bunch
        Three dicts from column to distance:

        - `total_variation` of each category: half the sum of the absolute differences of the
          shares, from 0 to 1. A gap is a category.
        - `wasserstein` of each number: the mean distance by which the values would have to move, in
          standard deviations of the real column; in its own units, or days of a date, if it is
          constant. Gaps are left out; without any other value it is NaN.
        - `gaps` of each number where there are gaps: the absolute difference of their shares.

    Raises
    ------
    ValueError
        If the columns differ, or there are no rows.

    Notes
    -----
    Samples of one distribution have small distances too: k categories of share p differ by about
    the sum of sqrt(2 p (1 - p) / (pi n)) with n rows on both sides. Compare with the distance of
    held-out rows.

    Examples
    --------
    >>> import pandas as pd
    >>> from probgen.metrics import column_distances
    >>> real = pd.DataFrame({"town": ["Oslo", "Oslo", "Rome", "Rome"], "age": [20, 20, 40, 40]})
    >>> draws = pd.DataFrame({"town": ["Oslo", "Rome", "Rome", "Rome"], "age": [25, 25, 45, 45]})
    >>> distances = column_distances(real, draws)
    >>> distances.total_variation, distances.wasserstein  # 5 years of a deviation of 10
    ({'town': 0.25}, {'age': 0.5})
    """
    columns = read_columns({"real": real, "synthetic": synthetic}, categorical_features)
    distances = Bunch(total_variation={}, wasserstein={}, gaps={})
    for column in columns:
        if column.is_category:
            difference = column.shares(0) - column.shares(1)
            distances.total_variation[column.name] = float(0.5 * np.abs(difference).sum())
            continue
        distances.wasserstein[column.name] = _wasserstein(*column.values)
        if column.has_gaps:
            shares = [np.isnan(values).mean() for values in column.values]
            distances.gaps[column.name] = float(abs(shares[0] - shares[1]))
    return distances


def _wasserstein(real: np.ndarray, synthetic: np.ndarray) -> float:
    """Distance of the known values, in deviations of the real ones."""
    real = real[~np.isnan(real)]
    synthetic = synthetic[~np.isnan(synthetic)]
    if not len(real) or not len(synthetic):
        return np.nan
    deviation = real.std()
    # The deviation of equal numbers may be off 0 by rounding.
    if deviation <= 1e-12 * np.abs(real).max():
        deviation = 1.0
    return float(wasserstein_distance(real, synthetic) / deviation)


def association_error(real: Any, synthetic: Any, *, categorical_features: Iterable = ()) -> float:
    """Return the mean absolute difference of the associations of all pairs of columns.

    The association is Cramer's V of two categories, Pearson's correlation of two numbers, and the
    correlation ratio of a number given a category: the root of the share of its variance that lies
    between the categories.

    Parameters
    ----------
    real, synthetic, categorical_features :
        As in `column_distances`.

    Returns
    -------
    error : float
        From 0, if all associations agree, to 2 if all correlations have the opposite sign; 0 for a
        table of one column.

    Raises
    ------
    ValueError
        If the columns differ, or there are no rows.

    Notes
    -----
    A gap in a category is a category; rows with a gap in a number are left out of its pairs. A
    column that is constant is associated with nothing. V and the correlation ratio of few rows are
    too large, so draw as many rows as there are real ones.

    Examples
    --------
    >>> import pandas as pd
    >>> from probgen.metrics import association_error
    >>> real = pd.DataFrame({"town": ["Oslo", "Oslo", "Rome", "Rome"], "age": [20, 20, 40, 40]})
    >>> association_error(real, real.assign(age=[20, 40, 20, 40]))  # from a ratio of 1 to one of 0
    1.0
    """
    columns = read_columns({"real": real, "synthetic": synthetic}, categorical_features)
    if len(columns) < 2:
        return 0.0
    differences = np.abs(associations(columns, 0) - associations(columns, 1))
    return float(differences[np.triu_indices(len(columns), k=1)].mean())


def closest_record_share(
    training: Any,
    holdout: Any,
    synthetic: Any,
    *,
    categorical_features: Iterable = (),
    random_state: Any = 0,
) -> float:
    """Return the share of draws that are closer to the training rows than to held-out rows.

    Draws of a model that has learned the distribution, rather than the rows, are as often closest
    to a held-out row as to one of as many training rows: the share is 1/2. Copies of these training
    rows give 1 [1]_. The distance is that of Gower [2]_.

    Parameters
    ----------
    training, holdout : frame or array-like of shape (n, n_columns)
        Rows that the model was fitted to, and rows of the same distribution that it was not. Of the
        longer part, as many rows as the other one has are chosen at random.
    synthetic : frame or array-like of shape (m, n_columns)
        Draws.
    categorical_features : iterable of str or int, default=()
        As in `column_distances`.
    random_state : int, RandomState, Generator or None, default=0
        Seeds the choice of rows.

    Returns
    -------
    share : float
        From 0 to 1. A draw that is equally far from both parts counts one half. The standard error
        is about 1/2 / sqrt(m) for m draws, to which few rows of either part add. If a fraction f of
        the training rows is compared, a model that copies rows has a share of about (1 + f) / 2.

    Raises
    ------
    ValueError
        If the columns differ, or there are no rows.

    Notes
    -----
    The distance of two rows is the sum over the columns of 1 for two categories that differ, of
    |a - b| over the range of the training and held-out rows for two numbers, and of 1 for a number
    and a gap. Time grows with n m, memory does not.

    References
    ----------
    .. [1] M. Platzer and T. Reutterer, Holdout-based empirical assessment of mixed-type synthetic
       data, Frontiers in Big Data, 2021.
    .. [2] J. C. Gower, A general coefficient of similarity and some of its properties, Biometrics,
       1971.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen.metrics import closest_record_share
    >>> rows = np.random.default_rng(0).normal(size=(200, 3))
    >>> training, holdout = rows[:100], rows[100:]
    >>> closest_record_share(training, holdout, training)
    1.0
    """
    generator = check_generator(random_state)
    frames = {"training": training, "holdout": holdout, "synthetic": synthetic}
    columns = read_columns(frames, categorical_features)
    sizes = [len(values) for values in columns[0].values]
    n_rows = min(sizes[:2])
    codes, places = _gower_coordinates(columns)
    nearest = []
    for part in (0, 1):
        chosen = np.sort(generator.permutation(sizes[part])[:n_rows])
        rows = codes[part][chosen], places[part][chosen]
        nearest.append(_nearest_distances((codes[2], places[2]), rows))
    # Sums of the same terms in another order differ by rounding.
    is_equal = np.isclose(nearest[0], nearest[1], rtol=1e-9, atol=1e-12)
    is_closer = np.where(is_equal, NO_SHARE, nearest[0] < nearest[1])
    return float(is_closer.mean())


def _gower_coordinates(columns: list[ComparedColumn]) -> tuple[list, list]:
    """Codes (n, k) and places (n, m) of rows of each frame.

    The distance of two rows is the number of codes that differ and the sum of the absolute
    differences of the places.
    """
    n_frames = len(columns[0].values)
    codes: list[list[np.ndarray]] = [[] for _ in range(n_frames)]
    places: list[list[np.ndarray]] = [[] for _ in range(n_frames)]
    for column in columns:
        if column.is_category:
            for frame, values in enumerate(column.values):
                codes[frame].append(values.astype(np.float64))
            continue
        known = np.concatenate(column.values[:2])
        known = known[~np.isnan(known)]
        low, width = 0.0, 1.0
        if len(known):
            low, width = known.min(), np.ptp(known) or 1.0
        for frame, values in enumerate(column.values):
            scaled = (values - low) / width
            if not column.has_gaps:
                places[frame].append(scaled)
                continue
            # Halves to both ends of the range, so that a gap in the third is 1 from any number.
            is_gap = np.isnan(scaled)
            halves = np.where(is_gap, 0.0, 0.5 * np.clip(scaled, 0.0, 1.0))
            rest = np.where(is_gap, 0.0, 0.5) - halves
            beyond = np.where(is_gap, 0.0, scaled - np.clip(scaled, 0.0, 1.0))
            places[frame] += [halves, rest, np.where(is_gap, 0.5, 0.0), beyond]
    n_rows = [len(values) for values in columns[0].values]
    return (
        [np.array(part, float).reshape(-1, n).T for part, n in zip(codes, n_rows)],
        [np.array(part, float).reshape(-1, n).T for part, n in zip(places, n_rows)],
    )


def _nearest_distances(queries: tuple, rows: tuple) -> np.ndarray:
    """Distance (m,) of each of m rows of codes and places to the nearest of n others."""
    n_codes = queries[0].shape[1]
    size = max(1, BLOCK_NUMBERS // len(rows[0]))
    nearest = np.empty(len(queries[0]))
    for start in range(0, len(nearest), size):
        block = slice(start, start + size)
        distances = np.zeros((len(nearest[block]), len(rows[0])))
        if n_codes:
            distances += n_codes * cdist(queries[0][block], rows[0], "hamming")
        if queries[1].shape[1]:
            distances += cdist(queries[1][block], rows[1], "cityblock")
        nearest[block] = distances.min(axis=1)
    return nearest
