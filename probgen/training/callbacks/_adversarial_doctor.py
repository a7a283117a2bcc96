"""Callback that measures the two networks of a GAN, with advice where one of them fails."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from scipy.stats import rankdata
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances, pairwise_distances_argmin

from probgen._validation import check_count, show
from probgen.options import Option
from probgen.training.callbacks._monitor import Doctor, call_with_labels, without_names

# Share of pairs of a row and a draw that a saturated discriminator ranks correctly; that of good
# discriminators reaches 0.99.
SATURATED = 0.999
UNSURE = 0.9  # below this share a generator has little left to learn from a discriminator
# Largest share of the clusters hit, or of the distances between rows, of draws without variety.
NARROW = 0.5
HIT = 0.1  # least share of the expected draws in a cluster that counts as hit
# Share of the strongest gradient so far, or of one unit of loss per unit of the networks, below
# which a gradient has vanished.
FAINT = 0.01
RESTLESS = 0.4  # share of the draws that change clusters between measurements in an oscillation
LEAST_MOVES = 3  # changes between measurements that an oscillation takes
PROGRESS = 0.1  # share of the draws that moved to the clusters of the rows without oscillation
PAIRED_ROWS = 500  # for distances
SEED = 0  # of draws and clusters


class AdversarialDoctor(Doctor):
    """Monitor the two networks of a GAN, and advise on parameters where one of them fails.

    After every k-th epoch it compares rows of X, evenly spaced, with as many draws of the model of
    that epoch, always from the same seed, and adds to the record of the epoch in `history_`:

    - "discriminator_auc": share of the pairs of a row and a draw in which the discriminator takes
      the row for the more real one; 0.5 if it cannot tell them apart, 1 if it always can;
    - "diversity": mean distance between two draws over that between two rows;
    - "clusters_hit": number of the k-means clusters of the rows into which draws fall, a tenth of
      their due at least;
    - "generator_gradient": mean length of the gradient of the generator's loss by a draw, which is
      what the generator learns from; in the units of the networks. NaN where an estimator does not
      tell.

    From the middle of a fit on, and at its end, it warns of each of these once: a saturated
    discriminator (in two measurements it tells at least 99.9 % of the pairs apart, unless
    loss="wasserstein", whose critic is meant to), mode collapse (draws hit at most half of the
    clusters, or are half as far apart as rows), a vanishing gradient (a hundredth of the strongest
    one, or of 1, though the discriminator tells draws from rows), and oscillation (over the last
    four measurements two fifths of the draws change clusters each time, and do not come nearer to
    the shares of the rows).

    It serves every generator with `discriminate(X)`, such as GAN, and moves none of the fit's
    random numbers. X has to be an array, a frame or a list of rows: of blocks and data sets nothing
    is measured.

    Parameters
    ----------
    every : int, default=1
        Epochs from one measurement to the next, at least 1.
    n_rows : int, default=1000
        Rows of X to measure on, and draws, at least 2.
    n_clusters : int, default=20
        Clusters of the rows, at least 1; no more than there are different rows.

    Attributes
    ----------
    epochs_ : ndarray of shape (n_measurements,)
        Numbers of the epochs after which the model was measured, from 1, in the last fit; a fit
        that resumes an earlier one, such as `partial_fit`, adds to them.
    cluster_shares_ : ndarray of shape (n_measurements, n_clusters)
        Shares of the draws that fall into each cluster of the rows.

    Raises
    ------
    TypeError
        At the beginning of a fit, if the estimator has no discriminator.
    ValueError
        At the beginning of a fit, if a parameter is out of range.

    Examples
    --------
    >>> from probgen.training import AdversarialDoctor
    >>> AdversarialDoctor(every=5, n_clusters=10)
    AdversarialDoctor(every=5, n_clusters=10)
    """

    def __init__(self, every: int = 1, n_rows: int = 1000, n_clusters: int = 20) -> None:
        self.every = every
        self.n_rows = n_rows
        self.n_clusters = n_clusters

    @property
    def cluster_shares_(self) -> np.ndarray:
        return np.array([measurement.shares for measurement in self._measurements()])

    def setup(self, estimator: Any, context: Any) -> None:
        """Check the parameters and the estimator."""
        check_count("n_clusters", self.n_clusters)
        super().setup(estimator, context)

    def _check_estimator(self, estimator: Any) -> None:
        if not (hasattr(estimator, "sample") and hasattr(estimator, "discriminate")):
            raise TypeError(
                "AdversarialDoctor needs an estimator with sample and discriminate(X), such as"
                f" GAN; got {show(estimator)}."
            )

    def _measure(
        self,
        model: Any,
        X: np.ndarray,
        y: np.ndarray | None,
        epoch: int,
        record: dict,
        former: list,
    ) -> "_Measurement":
        """The _Measurement of a model on rows and draws."""
        model = without_names(model)
        rows = np.asarray(X)
        draws, drawn_y = _draw(model, self.n_rows)
        real_scores = call_with_labels(model, "discriminate", rows, y)
        drawn_scores = call_with_labels(model, "discriminate", draws, drawn_y)
        rows, draws = _in_model_units(model, rows, draws)
        if former:
            centres = former[-1].centres
        else:
            centres = _find_centres(rows, self.n_clusters)
        shares = _shares(draws, centres)
        due = _shares(rows, centres)
        diversity = math.nan
        if len(centres) > 1:
            diversity = _mean_distance(draws) / _mean_distance(rows)
        return _Measurement(
            epoch=epoch,
            auc=_share_of_pairs(real_scores, drawn_scores),
            diversity=diversity,
            n_hit=int(np.sum(shares > HIT * due)),
            gradient=_gradient(model, self.n_rows, drawn_y),
            shares=shares,
            due=due,
            centres=centres,
        )

    def _symptoms(self, measurements: list, model: Any) -> dict[str, str]:
        symptoms = {}
        for name, judge in _JUDGES.items():
            sentence = judge(measurements, model)
            if sentence is not None:
                symptoms[name] = f"After epoch {measurements[-1].epoch} {sentence}"
        return symptoms


@dataclass(frozen=True)
class _Measurement:
    """Numbers measured after an epoch.

    `shares` and `due` (k,) are the shares of the draws and of the rows in each cluster of the rows.
    """

    epoch: int
    auc: float
    diversity: float
    n_hit: int
    gradient: float
    shares: np.ndarray
    due: np.ndarray
    centres: np.ndarray
    names: ClassVar = {
        "discriminator_auc": "auc",
        "diversity": "diversity",
        "clusters_hit": "n_hit",
        "generator_gradient": "gradient",
    }

    def columns(self) -> dict[str, Any]:
        """Numbers for the record of the epoch."""
        return {column: getattr(self, name) for column, name in self.names.items()}


def _judge_saturation(measurements: list, model: Any) -> str | None:
    sure = min(measurement.auc for measurement in measurements[-2:])
    if not sure >= SATURATED or _name_of(getattr(model, "loss", None)) == "wasserstein":
        return None
    advice = _advise(model, penalty="r1", instance_noise="raise", n_discriminator_steps="lower")
    return (
        f"the discriminator tells {100.0 * sure:.4g} % of pairs of a row and a draw apart: it is"
        f" saturated; {advice}."
    )


def _judge_collapse(measurements: list, model: Any) -> str | None:
    last = measurements[-1]
    k = len(last.shares)
    if last.n_hit > NARROW * k and not last.diversity <= NARROW:
        return None
    advice = _advise(
        model, penalty="r1", loss="non_saturating", learning_rate_init="lower", max_iter="raise"
    )
    return (
        f"draws hit {last.n_hit} of {k} clusters of the rows, and are {last.diversity:.2g} times as"
        " far apart as rows: the generator has collapsed to few modes, or has not found the others"
        f" yet; {advice}."
    )


def _judge_gradient(measurements: list, model: Any) -> str | None:
    last = measurements[-1]
    strongest = max(measurement.gradient for measurement in measurements)
    if not (last.gradient <= FAINT * max(strongest, 1.0) and last.auc > UNSURE):
        return None
    advice = _advise(
        model,
        loss="non_saturating",
        penalty="r1",
        instance_noise="raise",
        n_discriminator_steps="lower",
    )
    return (
        f"the gradient that the generator learns from is {last.gradient:.3g}, at most"
        f" {strongest:.3g} before, though the discriminator tells draws from rows: it has vanished;"
        f" {advice}."
    )


def _judge_oscillation(measurements: list, model: Any) -> str | None:
    recent = measurements[-LEAST_MOVES - 1 :]
    if len(recent) <= LEAST_MOVES:
        return None
    moved = float(np.mean([_difference(a.shares, b.shares) for a, b in pairwise(recent)]))
    missed = [_difference(measurement.shares, measurement.due) for measurement in recent]
    if moved < RESTLESS or missed[-1] < missed[0] - PROGRESS:
        return None
    advice = _advise(model, learning_rate_init="lower", penalty="r1", trainer__ema_decay=0.999)
    return (
        f"{100.0 * moved:.3g} % of the draws change clusters from epoch to epoch, and do not come"
        f" nearer to the rows: the networks chase each other; {advice}."
    )


def _difference(shares: np.ndarray, others: np.ndarray) -> float:
    """Share of the rows that is in other clusters."""
    return 0.5 * float(np.abs(shares - others).sum())


def _advise(model: Any, **changes: Any) -> str:
    """Changes of parameters as a phrase: "raise" and "lower", or values to set."""
    values = model.get_params()
    advice = []
    for name, change in changes.items():
        value = _name_of(values.get(name, change))
        if change in ("raise", "lower") and name in values:
            step = f"{change} {name}"
            if value is not None:
                step += f" (now {value!r})"
            advice.append(step)
        elif value is None or value == "minimax":
            advice.append(f"set {name}={change!r}")
    if len(advice) < 2:
        return "".join(advice)
    return f"{', '.join(advice[:-1])} or {advice[-1]}"


def _name_of(value: Any) -> Any:
    """The string that stands for an option; other values as they are."""
    if isinstance(value, Option):
        return value.name
    return value


_JUDGES = {
    "saturation": _judge_saturation,
    "collapse": _judge_collapse,
    "gradient": _judge_gradient,
    "oscillation": _judge_oscillation,
}


def _draw(model: Any, n_samples: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Draws (n, d), and their labels where the model has classes, else None."""
    if hasattr(model, "classes_"):
        return model.sample(n_samples, return_y=True, random_state=SEED)
    return model.sample(n_samples, random_state=SEED), None


def _gradient(model: Any, n_samples: int, y: np.ndarray | None) -> float:
    """Mean length of the gradient of the generator's loss by a draw."""
    if not hasattr(model, "_generator_gradients"):
        return math.nan
    lengths = call_with_labels(
        model, "_generator_gradients", n_samples, y, generator=np.random.default_rng(SEED)
    )
    return float(np.mean(lengths, dtype=np.float64))


def _in_model_units(model: Any, rows: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, ...]:
    """Both as the networks see them, or with standardised columns where a model does not tell."""
    if hasattr(model, "_scaled"):
        return tuple(np.asarray(model._scaled(part), dtype=np.float64) for part in (rows, draws))
    centre, scale = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(scale > 0.0, scale, 1.0)
    return (rows - centre) / scale, (draws - centre) / scale


def _share_of_pairs(real: np.ndarray, drawn: np.ndarray) -> float:
    """Share of the pairs in which the score of a row is the higher one; equal ones count half."""
    ranks = rankdata(np.concatenate([real, drawn]))[: len(real)]
    n, m = len(real), len(drawn)
    return float((ranks.sum() - n * (n + 1) / 2.0) / (n * m))


def _mean_distance(rows: np.ndarray) -> float:
    """Mean distance between two rows, of evenly spaced ones where there are many."""
    rows = rows[:: -(-len(rows) // PAIRED_ROWS)]
    return float(pairwise_distances(rows).sum() / (len(rows) * (len(rows) - 1)))


def _find_centres(rows: np.ndarray, n_clusters: int) -> np.ndarray:
    """Centres (k, d) of clusters of rows, no more than there are different rows."""
    n_clusters = min(n_clusters, len(np.unique(rows, axis=0)))
    return KMeans(n_clusters, n_init=1, random_state=SEED).fit(rows).cluster_centers_


def _shares(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Shares (k,) of the rows that are nearest to each centre."""
    return np.bincount(pairwise_distances_argmin(rows, centres), minlength=len(centres)) / len(rows)
