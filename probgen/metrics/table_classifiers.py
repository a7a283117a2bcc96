"""What classifiers say of draws of a table: what they teach, and whether they can be told."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import f1_score, r2_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.utils import Bunch

from probgen._validation import check_count, check_generator, show
from probgen.metrics._columns import ComparedColumn, read_columns

MOST_LEVELS = 254  # that trees take apart; rarer ones share one more


def train_on_synthetic(
    synthetic: Any,
    real: Any,
    target: Any,
    *,
    estimator: Any = None,
    categorical_features: Iterable = (),
    random_state: Any = 0,
) -> Bunch:
    """Train a classifier or regressor on draws, and return how well it predicts real rows.

    The same call with training rows in place of the draws gives the figures to compare with. This
    measure goes by the names of utility, machine-learning efficacy, and TSTR (train on synthetic,
    test on real) [1]_.

    Parameters
    ----------
    synthetic : frame or array-like of shape (m, n_columns)
        Draws to train on.
    real : frame or array-like of shape (n, n_columns)
        Rows to test on, which the generator has not seen.
    target : str or int
        The column to predict, by its name, or the index of an array.
    estimator : estimator object, default=None
        Classifier or regressor of scikit-learn's kind, which is cloned. It gets numbers in standard
        units, with the mean for gaps, and categories in one column for each level. None takes
        gradient-boosted trees, HistGradientBoosting, which get categories and gaps as they are.
    categorical_features : iterable of str or int, default=()
        As in `column_distances`. A target of numbers is predicted as classes if it is listed.
    random_state : int, RandomState, Generator or None, default=0
        Seeds the estimator if it is None.

    Returns
    -------
    scores : Bunch
        For a target of categories `roc_auc`, the mean over classes against all others if there are
        more than two, and `f1`, of the class that is rarer among the real rows, or the mean over
        more than two classes; for numbers `r2`. Higher is better.

    Raises
    ------
    ValueError
        If the columns differ, the target is unknown or has gaps among the real rows, or those have
        one class only.

    Notes
    -----
    Draws without a target are left out. A class that no draw has gets probability 0.

    References
    ----------
    .. [1] C. Esteban, S. L. Hyland and G. Ratsch, Real-valued (medical) time series generation with
       recurrent conditional GANs, 2017.

    Examples
    --------
    >>> import pandas as pd
    >>> from probgen.metrics import train_on_synthetic
    >>> rows = pd.DataFrame({"age": range(100), "retired": [age > 65 for age in range(100)]})
    >>> train_on_synthetic(rows, rows, "retired")
    {'roc_auc': 1.0, 'f1': 1.0}
    """
    columns = read_columns({"real": real, "synthetic": synthetic}, categorical_features)
    names = [column.name for column in columns]
    if target not in names:
        raise ValueError(f"target must be a column; got {show(target)}; there is {show(names)}.")
    label = columns.pop(names.index(target))
    if not columns:
        raise ValueError(f"real must have columns beside the target {target!r}; it has none.")
    y_test, y_train = label.values
    is_gap = [_is_gap(label, y) for y in (y_test, y_train)]
    if is_gap[0].any():
        raise ValueError(
            f"real must have no gap in the target {target!r}; got one in row"
            f" {int(np.argmax(is_gap[0]))}; drop such rows."
        )
    if is_gap[1].all():
        raise ValueError(f"synthetic must have a target {target!r} in some row; it has none.")
    kept = ~is_gap[1]
    if estimator is None:
        estimator = _trees(columns, label.is_category, random_state)
        X_test, X_train = _ordinal(columns)
    else:
        X_test, X_train = _one_hot(columns)
    estimator = clone(estimator)
    if not label.is_category:
        predicted = estimator.fit(X_train[kept], y_train[kept]).predict(X_test)
        return Bunch(r2=float(r2_score(y_test, predicted)))
    if len(np.unique(y_test)) < 2:
        raise ValueError(f"real must have two classes of {target!r} or more; it has one.")
    if len(np.unique(y_train[kept])) < 2:
        estimator = DummyClassifier()
    estimator.fit(X_train[kept], y_train[kept])
    return _classification_scores(estimator, X_test, y_test, len(label.levels))


def _classification_scores(estimator: Any, X: np.ndarray, y: np.ndarray, n_levels: int) -> Bunch:
    """Area under the curve and F1 of a classifier of codes."""
    probabilities = np.zeros((len(X), n_levels))
    probabilities[:, estimator.classes_] = estimator.predict_proba(X)
    predicted = estimator.predict(X)
    counts = np.bincount(y, minlength=n_levels)
    present = np.flatnonzero(counts)
    if len(present) == 2:
        rarer = present[np.argmin(counts[present])]
        return Bunch(
            roc_auc=float(roc_auc_score(y == rarer, probabilities[:, rarer])),
            f1=float(f1_score(y == rarer, predicted == rarer, zero_division=0.0)),
        )
    areas = [roc_auc_score(y == level, probabilities[:, level]) for level in present]
    f1 = f1_score(y, predicted, labels=present, average="macro", zero_division=0.0)
    return Bunch(roc_auc=float(np.mean(areas)), f1=float(f1))


def classifier_two_sample_test(
    real: Any,
    synthetic: Any,
    *,
    cv: int = 3,
    categorical_features: Iterable = (),
    random_state: Any = 0,
) -> float:
    """Return how well a classifier tells draws from real rows, as an area under the ROC curve.

    Gradient-boosted trees learn which rows are real, and are tested on the rows of the other folds
    [1]_. Use real rows that the generator has not seen: copies of its training rows would look
    real.

    Parameters
    ----------
    real : frame or array-like of shape (n, n_columns)
        Rows.
    synthetic : frame or array-like of shape (m, n_columns)
        Draws. Of the longer table, as many rows as the other one has are chosen at random.
    cv : int, default=3
        Folds, at least 2.
    categorical_features : iterable of str or int, default=()
        As in `column_distances`.
    random_state : int, RandomState, Generator or None, default=0
        Seeds the choice of rows, the folds and the trees.

    Returns
    -------
    roc_auc : float
        1/2 where draws cannot be told from rows, and 1 where they always can; below 1/2 by chance,
        or if draws repeat the very rows.

    Raises
    ------
    ValueError
        If the columns differ, or a table has fewer rows than there are folds.

    References
    ----------
    .. [1] D. Lopez-Paz and M. Oquab, Revisiting classifier two-sample tests, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen.metrics import classifier_two_sample_test
    >>> rows = np.random.default_rng(0).normal(size=(200, 2))
    >>> classifier_two_sample_test(rows, rows + 10.0)
    1.0
    """
    check_count("cv", cv, low=2)
    generator = check_generator(random_state)
    columns = read_columns({"real": real, "synthetic": synthetic}, categorical_features)
    sizes = [len(values) for values in columns[0].values]
    n_rows = min(sizes)
    if n_rows < cv:
        raise ValueError(
            f"cv must be at most the number of rows of either table, {n_rows}; got {cv}; draw more"
            " rows."
        )
    chosen = [generator.permutation(size)[:n_rows] for size in sizes]
    X = np.concatenate([part[rows] for part, rows in zip(_ordinal(columns), chosen)])
    y = np.repeat([1, 0], n_rows)
    seed = int(generator.integers(2**31))
    folds = StratifiedKFold(cv, shuffle=True, random_state=seed)
    trees = _trees(columns, True, seed)
    predicted = cross_val_predict(trees, X, y, cv=folds, method="predict_proba")
    return float(roc_auc_score(y, predicted[:, 1]))


def _trees(columns: list[ComparedColumn], is_classifier: bool, random_state: Any) -> Any:
    """Gradient-boosted trees for the rows of `_ordinal`."""
    kind = HistGradientBoostingRegressor
    if is_classifier:
        kind = HistGradientBoostingClassifier
    generator = check_generator(random_state)
    return kind(
        categorical_features=[column.is_category for column in columns],
        # Early stopping would hold out rows, perhaps the only ones of a class.
        early_stopping=False,
        random_state=int(generator.integers(2**31)),
    )


def _ordinal(columns: list[ComparedColumn]) -> list[np.ndarray]:
    """Rows (n, d) of each frame: codes, of which the rarest share one, and numbers."""
    parts = []
    for column in columns:
        values = column.values
        if column.is_category and len(column.levels) > MOST_LEVELS:
            counts = np.bincount(np.concatenate(values), minlength=len(column.levels))
            code_of = np.full(len(counts), MOST_LEVELS)
            code_of[np.argsort(-counts, kind="stable")[:MOST_LEVELS]] = range(MOST_LEVELS)
            values = [code_of[codes] for codes in values]
        parts.append(values)
    return [np.column_stack([part[k] for part in parts]).astype(float) for k in (0, 1)]


def _one_hot(columns: list[ComparedColumn]) -> list[np.ndarray]:
    """Rows (n, m) of each frame: a column for each level, and numbers in units of the second."""
    parts = []
    real, synthetic = _ordinal(columns)
    for column, *values in zip(columns, real.T, synthetic.T):
        if column.is_category:
            n_levels = min(len(column.levels), MOST_LEVELS + 1)
            parts.append([np.eye(n_levels)[codes.astype(int)] for codes in values])
            continue
        known = values[1][~np.isnan(values[1])]
        center, deviation = 0.0, 1.0
        if len(known):
            center = known.mean()
            deviation = known.std() or 1.0
        parts.append([np.nan_to_num((each - center) / deviation)[:, np.newaxis] for each in values])
    return [np.hstack([part[k] for part in parts]) for k in (0, 1)]


def _is_gap(column: ComparedColumn, values: np.ndarray) -> np.ndarray:
    """Whether values (n,) of a column are gaps."""
    if not column.is_category:
        return np.isnan(values)
    if not column.has_gaps:
        return np.zeros(len(values), dtype=bool)
    return values == len(column.levels) - 1
