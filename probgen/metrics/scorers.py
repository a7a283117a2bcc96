"""Scorers for scikit-learn's model selection."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from probgen._validation import RandomState, check_choice, check_count, check_generator, show
from probgen.base.comparison import check_comparable, check_units
from probgen.metrics.frechet import frechet_distance
from probgen.metrics.mmd import kernel_mmd

DISTANCES = {"frechet": frechet_distance, "mmd": kernel_mmd}


def likelihood_scorer(estimator: Any, X: npt.ArrayLike, y: Any = None) -> float:
    """Return the mean log-likelihood of rows, if it compares with those of the other candidates.

    Pass the function itself as `scoring` to scikit-learn's searches and cross-validation.

    Parameters
    ----------
    estimator : estimator object
        A fitted generator, or a pipeline or search that ends in one.
    X : array-like of shape (n, n_features)
        Rows to score.
    y : object, default=None
        Ignored.

    Returns
    -------
    score : float
        The mean of `estimator.score_samples(X)`, in nats and in the units of X; higher is better.

    Raises
    ------
    TypeError
        If the estimator is no generator.
    ValueError
        If the score does not compare: it has another measure than the first candidate of the
        search, or it is in the units of the last step of a scikit-learn `Pipeline`.

    Notes
    -----
    A density and a probability do not compare, and a density in other units is another density. To
    compare models of whole numbers, choose likelihoods of one measure, or put a `Dequantizer`
    before those that have densities; to compare scalers, build the pipelines with
    `make_generative_pipeline`.

    With `error_score="raise"` a search stops at the first candidate that does not compare. By
    default scikit-learn turns each refusal into a warning with its sentence, which worker processes
    print, and a score of NaN, which ranks last: the best candidate is then one that compares with
    the first, but if all are refused, `best_score_` is NaN.

    The candidates of a search are known where it runs in one process, in threads too. A worker
    process sees one candidate at a time. If the parameters that the search varies may change the
    measure, such as a likelihood or a step, only probabilities are accepted there for rows of whole
    numbers, and only densities for other rows. Two pipelines of mixed measure, whose Dequantizers
    have different columns, are not told apart, and neither are candidates of other tools than
    scikit-learn's, or on folds that a `cv` of your own gives as lists.

    The scores of `GenerativePipeline` and of all generators, also at the end of a `Pipeline`,
    refuse other measures in one process likewise, without a scorer.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> from sklearn.preprocessing import PowerTransformer, StandardScaler
    >>> from probgen import GaussianMixture, make_generative_pipeline
    >>> from probgen.metrics import likelihood_scorer
    >>> pipeline = make_generative_pipeline(StandardScaler(), GaussianMixture(random_state=0))
    >>> grid = {"standardscaler": [StandardScaler(), PowerTransformer()]}
    >>> search = GridSearchCV(pipeline, grid, scoring=likelihood_scorer, error_score="raise")
    >>> search.fit(load_iris().data).best_params_
    {'standardscaler': StandardScaler()}
    """
    check_units(estimator)
    check_comparable(estimator, X, strict=True)
    return float(np.mean(estimator.score_samples(X), dtype=np.float64))


def make_sample_quality_scorer(
    distance: str | Callable = "mmd",
    *,
    n_samples: int | None = None,
    random_state: Any = 0,
    **settings: Any,
) -> Callable:
    """Return a scorer that compares draws of a generator with held-out rows.

    Use it as `scoring` of scikit-learn's tools, for models whose likelihood is only an estimate,
    such as GANs.

    Parameters
    ----------
    distance : {"mmd", "frechet"} or callable, default="mmd"
        `kernel_mmd`, `frechet_distance`, or a function of rows and draws that is lower the more
        alike they are.
    n_samples : int, default=None
        Number of draws, at least 2; None draws as many as there are rows.
    random_state : int, RandomState, Generator or None, default=0
        Seeds the draws. With an integer the score of a fitted model is always the same.
    **settings : dict
        Further arguments of the distance, such as `features`.

    Returns
    -------
    scorer : callable
        scorer(estimator, X, y=None) is minus the distance, so that higher is better; y is ignored.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> from probgen import GaussianMixture
    >>> from probgen.metrics import make_sample_quality_scorer
    >>> scorer = make_sample_quality_scorer("frechet")
    >>> model = GaussianMixture(random_state=0)
    >>> search = GridSearchCV(model, {"n_components": [1, 3]}, scoring=scorer)
    >>> bool(search.fit(load_iris().data).best_score_ < 0.0)
    True
    """
    if not callable(distance):
        check_choice("distance", distance, DISTANCES, hint="Or give a function of two samples.")
    if n_samples is not None:
        check_count("n_samples", n_samples, low=2)
    check_generator(random_state)
    return _SampleQualityScorer(distance, n_samples, random_state, settings)


class _SampleQualityScorer:
    """Minus a distance between rows and draws; a class, so that it can be pickled."""

    def __init__(
        self,
        distance: str | Callable,
        n_samples: int | None,
        random_state: RandomState,
        settings: dict,
    ) -> None:
        self.distance = distance
        self.n_samples = n_samples
        self.random_state = random_state
        self.settings = settings

    def __call__(self, estimator: Any, X: Any, y: Any = None) -> float:
        if not hasattr(estimator, "sample"):
            raise TypeError(
                f"The scorer needs an estimator that can sample; got {show(estimator)};"
                " make_generative_pipeline makes pipelines that can."
            )
        n_samples = self.n_samples
        if n_samples is None:
            n_samples = len(X)
        distance = self.distance
        if not callable(distance):
            distance = DISTANCES[distance]
        draws = estimator.sample(n_samples, random_state=self.random_state)
        return -float(distance(X, draws, **self.settings))

    def __repr__(self) -> str:
        settings = "".join(f", {name}={value!r}" for name, value in self.settings.items())
        return (
            f"make_sample_quality_scorer({self.distance!r}, n_samples={self.n_samples!r}, "
            f"random_state={self.random_state!r}{settings})"
        )
