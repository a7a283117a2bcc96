"""Scorers for scikit-learn's model selection."""

from collections.abc import Callable
from typing import Any

from probgen._validation import RandomState, check_choice, check_count, check_generator
from probgen.metrics.frechet import frechet_distance
from probgen.metrics.mmd import kernel_mmd

DISTANCES = {"frechet": frechet_distance, "mmd": kernel_mmd}


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
                f"The scorer needs an estimator that can sample; got {estimator!r};"
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
