"""What a generator says of itself: the tags, among them the meaning of its scores."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sklearn.utils import Tags, get_tags

from probgen._validation import show


@dataclass(frozen=True)
class Likelihood:
    """The meaning of the numbers that `score_samples` returns.

    Attributes
    ----------
    kind : {"exact", "lower_bound", "estimate"}
        How the value of a row without missing values relates to the log-likelihood of the fitted
        model. Where `score_samples` takes `return_std`, an error of 0 tells which values are exact.
    measure : {"lebesgue", "counting", "mixed"}
        "lebesgue" for a density in the units of X, "counting" for a probability of discrete rows,
        "mixed" for rows of which some columns are discrete.
    space : {"input", "transformed"}
        "input" for a density of the X that was passed; "transformed" for one of the output of
        earlier steps, as in a scikit-learn `Pipeline`, which ignores their Jacobians. Only values
        of the input space compare between models.
    """

    kind: str = "exact"
    measure: str = "lebesgue"
    space: str = "input"


@dataclass
class GeneratorTags(Tags):
    """Tags of scikit-learn, with those of a generator.

    Attributes
    ----------
    likelihood : Likelihood or None
        The meaning of `score_samples`; None if the model has no likelihood.
    conditions : bool
        Whether `sample` takes `given`.
    missing_values : {"none", "queries", "all"}
        Which calls take NaN as missing values: none, the queries of a fitted model, or `fit` too.
    semi_supervised : bool
        Whether the label -1 marks rows of an unknown class in `fit`.
    draws_follow_density : bool
        Whether `sample` draws from the density of `score_samples`. False for a GAN, whose density
        is that of draws with Gaussian noise of variance `noise_variance_`.
    """

    likelihood: Likelihood | None = None
    conditions: bool = False
    missing_values: str = "none"
    semi_supervised: bool = False
    draws_follow_density: bool = True


def get_likelihood(estimator: Any) -> Likelihood:
    """Return the Likelihood of a generator, which may be inside a pipeline or search.

    Parameters
    ----------
    estimator : estimator object
        A generator, or a pipeline, search or other meta-estimator with a generator inside.

    Returns
    -------
    likelihood : Likelihood

    Raises
    ------
    TypeError
        If there is no generator inside.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from probgen import GaussianMixture, get_likelihood
    >>> get_likelihood(GaussianMixture())
    Likelihood(kind='exact', measure='lebesgue', space='input')
    >>> get_likelihood(make_pipeline(StandardScaler(), GaussianMixture())).space
    'transformed'
    """
    if isinstance(estimator, type):
        name = estimator.__name__
        raise TypeError(
            f"get_likelihood expects an instance; got the class {name}; write {name}()."
        )
    if hasattr(estimator, "__sklearn_tags__"):
        likelihood = getattr(estimator.__sklearn_tags__(), "likelihood", None)
        if likelihood is not None:
            return likelihood
    if getattr(estimator, "steps", None):  # a scikit-learn Pipeline
        likelihood = get_likelihood(estimator.steps[-1][1])
        if all(step is None or step == "passthrough" for _, step in estimator.steps[:-1]):
            return likelihood
        return dataclasses.replace(likelihood, space="transformed")
    for name in ("best_estimator_", "estimator_", "estimator"):  # searches and other wrappers
        if hasattr(estimator, name):
            return get_likelihood(getattr(estimator, name))
    raise TypeError(
        "get_likelihood expects a generator, or a pipeline or search that ends in one; got"
        f" {show(estimator)}."
    )


def names_of_others(model: Any, accept: Callable[[Any], bool]) -> str:
    """Names of the public generators, but for the model's own, whose tags `accept` takes."""
    # Through the public names, because this module is below the generators. This loads torch, so it
    # waits for an error that needs it.
    import probgen

    names = []
    for name in sorted(probgen.estimators.__all__):
        if name != type(model).__name__ and accept(get_tags(getattr(probgen, name)())):
            names.append(name)
    return f"{', '.join(names[:-1])} and {names[-1]}"
