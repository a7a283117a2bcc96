"""Hidden Markov models of sequences that come block by block."""

import numpy as np
import pytest

from probgen import HiddenMarkovModel, RowBlocks

RNG = np.random.default_rng(0)
STATES = np.repeat(RNG.integers(2, size=(18, 4)), 4, axis=1)
X = (6.0 * STATES[:, :, None] + RNG.normal(size=(18, 16, 2))).reshape(18, 32)
X[RNG.random(X.shape) < 0.05] = np.nan
X[2, 20:] = np.nan  # a short sequence
COUNTS = RNG.poisson(1.0 + 8.0 * STATES).astype(float)
LEVELS = np.where(RNG.random(STATES.shape) < 0.8, STATES, 2).astype(float)
TIMES = np.repeat([0.0, 6.0], 8) + RNG.normal(size=(18, 16))


def blocks(rows):
    """The rows in blocks of unequal numbers, read afresh each time."""
    return RowBlocks(lambda: iter([rows[:3], rows[3:11], rows[11:11], rows[11:]]))


def unfitted(shape, **parameters):
    parameters = {"tol": 1e-10, "max_iter": 200, "random_state": 0, **parameters}
    return HiddenMarkovModel(2, sequence_shape=shape, **parameters)


@pytest.mark.parametrize(
    "rows, shape, parameters",
    [
        (X, (16, 2), {"covariance_type": "full"}),
        (X, (16, 2), {"covariance_type": "tied", "start": "stationary"}),
        (TIMES, (16, 1), {"transition": "left_right"}),
        (COUNTS, (16, 1), {"emission": "poisson"}),
        (COUNTS, (16, 1), {"emission": "poisson", "transition": "left_right"}),
        (LEVELS, (16, 1), {"emission": "categorical"}),
    ],
    ids=["full", "tied", "left-right", "counts", "counts left-right", "levels"],
)
def test_a_stream_is_fitted_as_its_rows(rows, shape, parameters):
    whole = unfitted(shape, **parameters).fit(rows)
    streamed = unfitted(shape, **parameters).fit(blocks(rows))
    np.testing.assert_allclose(
        streamed.score_samples(rows), whole.score_samples(rows), rtol=1e-5, atol=1e-5
    )
    # The starts differ, so that states may come in another order.
    for model in (whole, streamed):
        np.testing.assert_allclose(model.transition_matrix_.sum(axis=1), 1.0)
    ours, theirs = (np.sort(m.transition_matrix_.ravel()) for m in (streamed, whole))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_an_iteration_over_a_stream_is_that_over_its_rows():
    start = unfitted((16, 2), max_iter=0, warm_start=True).fit(X)
    found = []
    for rows in (X, blocks(X)):
        model = HiddenMarkovModel(**start.get_params()).fit(X)
        model.set_params(max_iter=1).fit(rows)
        found.append((model.means_, model.covariances_, model.transition_matrix_))
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_weights_of_a_stream_equal_repeats():
    weights = np.random.default_rng(1).integers(0, 3, size=18)
    streamed = unfitted((16, 2)).fit(blocks(X), sample_weight=weights)
    repeated = unfitted((16, 2)).fit(np.repeat(X, weights, axis=0))
    np.testing.assert_allclose(streamed.score_samples(X), repeated.score_samples(X), rtol=1e-5)


@pytest.mark.parametrize(
    "rows, parameters, message",
    [
        (-COUNTS - 1.0, {"emission": "poisson"}, "needs whole numbers >= 0"),
        (np.full((18, 16), np.nan), {}, "X must hold some values; got only NaN"),
        (np.where(COUNTS > 0.0, np.inf, 0.0), {}, "finite numbers or NaN; got an infinity"),
        (COUNTS, {"n_components": 400}, "at most the number of steps of X that hold a value, 288"),
        (COUNTS, {"sequence_shape": (3, 2)}, "holds 6 numbers, but rows have 16"),
    ],
)
def test_errors_are_those_of_rows(rows, parameters, message):
    model = unfitted(None).set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(blocks(rows))


def test_only_fit_takes_a_stream():
    model = unfitted(None).fit(blocks(COUNTS))
    with pytest.raises(ValueError, match="must be an array or a frame here; got a RowBlocks"):
        model.partial_fit(blocks(COUNTS))
