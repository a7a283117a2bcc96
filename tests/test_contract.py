"""One set of promises for every public generator, as `small_generators` lists them."""

import copy
import functools
import pickle
import random
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import chisquare
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from small_generators import (
    CHAIN,
    CLASSIFIERS,
    CONDITIONAL,
    DISCRETE,
    ESTIMATORS,
    GENERATORS,
    IN_ANY_ORDER,
    WEIGHTED,
    each,
    with_few_epochs,
)
from threadpoolctl import threadpool_info

import probgen
from probgen import (
    GAN,
    MADE,
    VAE,
    VAEGAN,
    AuxiliaryClassifierGAN,
    ConditionalGAN,
    ConditionalPixelCNN,
    ConditionalVAE,
    DeepBeliefClassifier,
    DeepBeliefNetwork,
    FullyVisibleBeliefNetwork,
    MixtureModel,
    PixelCNN,
    RestrictedBoltzmannMachine,
    SemiSupervisedVAE,
    get_likelihood,
    load,
    save,
)
from probgen.options import ParzenWindow

MARGINALISING = [
    estimator for estimator in GENERATORS if get_tags(estimator).missing_values == "all"
]


def make_rows(n_rows=150, n_features=3, seed=0):
    """Rows of three overlapping classes, features of unlike scales, and their classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n_rows)
    mixing = np.eye(n_features) + 0.5 * np.tri(n_features, k=-1) - 0.5 * np.tri(n_features, k=-3)
    X = rng.standard_normal((n_rows, n_features)) @ mixing.T
    X += 3.0 * np.stack([y == 1, *[y == 2] * (n_features - 1)], axis=1)
    return X * np.geomspace(1.0, 4.0, n_features), np.array(["ash", "birch", "cedar"])[y]


X, Y = make_rows()
BRIEFLY_FITTED = with_few_epochs(GENERATORS)


def fit(estimator, X=X, y=Y, **parameters):
    return clone(estimator).set_params(**parameters).fit(X, y)


def excused(estimator):
    """Checks that a generator cannot pass, and why."""
    if get_tags(estimator).semi_supervised:
        return {
            "check_classifiers_classes": (
                "its labels are -1 and 1, of which -1 marks rows without a class"
            )
        }
    return {}


@functools.cache
def fitted(estimator):
    """One fit for tests that leave it as it is, but for its stream of draws."""
    return fit(estimator)


def test_every_public_generator_is_held_to_the_contract():
    names = {type(estimator).__name__ for estimator in [*GENERATORS, *DISCRETE]}
    assert names == set(probgen.estimators.__all__)


@parametrize_with_checks(
    [*ESTIMATORS, *DISCRETE, IN_ANY_ORDER, CHAIN], expected_failed_checks=excused
)
def test_scikit_learn_contract(estimator, check):
    if check.func.__name__ != "check_classifiers_train":  # asks for accuracy
        (estimator,) = with_few_epochs([estimator])
    check(estimator)


def assert_rows_alone_decide(query, rows):
    """Whatever the order of the rows and the cuts between batches, a row gets the same bits."""
    whole = query(rows)
    shuffled = np.random.default_rng(2).permutation(len(rows))
    cut = len(rows) // 4
    parts = [query(rows[:1]), query(rows[1:cut]), query(rows[cut:])]
    advice = (
        "A row's answer depends on the other rows of its batch. Run queries through _in_blocks, and"
        " build networks from probgen.networks.dense.Linear: products of torch.nn.Linear are"
        " rounded by where a row lies in memory."
    )
    np.testing.assert_array_equal(query(rows[shuffled]), whole[shuffled], err_msg=advice)
    np.testing.assert_array_equal(np.concatenate(parts), whole, err_msg=advice)


@each(BRIEFLY_FITTED)
class TestQueries:
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    def test_shapes_and_precision(self, estimator, dtype):
        rows = X.astype(dtype)
        model = fit(estimator, rows)
        for answer, shape in [
            (model.sample(7), (7, 3)),
            (model.sample(), (1, 3)),
            (model.score_samples(rows), (150,)),
            (model.transform(rows), (150, len(model.get_feature_names_out()))),
        ]:
            assert answer.shape == shape
            assert answer.dtype == dtype
            assert np.isfinite(answer).all()
        assert isinstance(model.score(rows), float)

    def test_single_precision_agrees_with_double(self, estimator):
        model = fitted(estimator)
        single = X.astype(np.float32)
        np.testing.assert_allclose(model.score_samples(single), model.score_samples(X), atol=1e-4)
        np.testing.assert_allclose(model.transform(single), model.transform(X), atol=1e-3)

    def test_integer_rows_are_read_as_numbers(self, estimator):
        rows = X.astype(np.int16)
        dtype = estimator._dtypes[0]  # double precision, single in networks
        model = fit(estimator, rows)
        assert model.sample().dtype == dtype
        np.testing.assert_array_equal(
            model.score_samples(rows), model.score_samples(rows.astype(dtype))
        )

    def test_score_is_the_mean_of_score_samples(self, estimator):
        model = fitted(estimator)
        assert model.score(X) == pytest.approx(model.score_samples(X).mean(), rel=1e-12)
        assert model.score(X, Y) == model.score(X)
        assert model.score(X, np.roll(Y, 1)) == model.score(X)

    @pytest.mark.filterwarnings("ignore:.* effective draws")  # of single rows
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("n_features", [3, 13, 60])
    @pytest.mark.parametrize("method", ["score_samples", "transform"])
    def test_batches_and_order_do_not_matter(self, estimator, method, n_features, dtype):
        n_rows, quick = 3000, {}
        if is_network(estimator):
            n_rows, quick = 350, {"max_iter": 5}
        if hasattr(estimator, "n_importance_samples"):
            quick["n_importance_samples"] = 8
        rows, y = make_rows(n_rows, n_features, seed=1)
        rows = rows.astype(dtype)
        query = getattr(fit(estimator, rows[:200], y[:200], **quick), method)
        assert_rows_alone_decide(query, rows)
        np.testing.assert_array_equal(query(np.asfortranarray(rows)), query(rows))

    def test_rows_are_left_as_they_were(self, estimator):
        rows = X.copy()
        model = fit(estimator, rows)
        model.score_samples(rows), model.transform(rows)
        np.testing.assert_array_equal(rows, X)

    def test_likelihood_is_seen_through_pipelines_and_searches(self, estimator):
        own = get_likelihood(estimator)
        assert own.space == "input"
        pipeline = make_pipeline(StandardScaler(), estimator)
        for wrapped in [
            pipeline,
            GridSearchCV(pipeline, {}),
            make_pipeline("passthrough", pipeline),
        ]:
            seen = get_likelihood(wrapped)
            assert (seen.kind, seen.measure, seen.space) == (own.kind, own.measure, "transformed")


@each(BRIEFLY_FITTED)
class TestRandomness:
    def test_draws_differ_and_seeded_ones_repeat(self, estimator):
        model = fitted(estimator)
        first, seeded, second = model.sample(5), model.sample(5, random_state=3), model.sample(5)
        assert not np.isin(first, second).any()
        np.testing.assert_array_equal(model.sample(5, random_state=3), seeded)
        assert not np.isin(model.sample(5, random_state=4), seeded).any()

    def test_a_seeded_draw_does_not_move_the_stream(self, estimator):
        model, twin = fit(estimator), fit(estimator)
        model.sample(5, random_state=3)
        np.testing.assert_array_equal(model.sample(5), twin.sample(5))

    @pytest.mark.parametrize(
        "seed", [lambda: 7, lambda: np.random.RandomState(7), lambda: np.random.default_rng(7)]
    )
    def test_one_seed_fixes_the_fit_and_the_stream(self, estimator, seed):
        model, twin = fit(estimator, random_state=seed()), fit(estimator, random_state=seed())
        np.testing.assert_array_equal(model.score_samples(X), twin.score_samples(X))
        for _ in range(2):
            np.testing.assert_array_equal(model.sample(5), twin.sample(5))
        np.testing.assert_array_equal(
            model.sample(5, random_state=seed()), twin.sample(5, random_state=seed())
        )

    def test_without_a_seed_streams_differ(self, estimator):
        model, twin = fit(estimator, random_state=None), fit(estimator, random_state=None)
        assert not np.isin(model.sample(5), twin.sample(5)).any()

    @pytest.mark.parametrize("random_state", [0, None])
    def test_global_generators_are_left_alone(self, estimator, random_state):
        before = np.random.get_state(), random.getstate()  # noqa: NPY002
        model = fit(estimator, random_state=random_state)
        model.sample(5), model.score(X), model.transform(X)
        after = np.random.get_state(), random.getstate()  # noqa: NPY002
        np.testing.assert_equal(after, before)

    @pytest.mark.parametrize("n_features", [3, 60])
    def test_fits_in_threads_equal_fits_in_a_row(self, estimator, n_features):
        rows, y = make_rows(200, n_features)
        n_seeds = {3: 20, 60: 8}[n_features]
        if is_network(estimator):
            estimator, n_seeds = clone(estimator).set_params(max_iter=8), 4
        seeds = range(n_seeds)
        before = threadpool_info()
        alone = [fit(estimator, rows, y, random_state=seed) for seed in seeds]
        with ThreadPoolExecutor(4) as pool:
            together = list(
                pool.map(lambda seed: fit(estimator, rows, y, random_state=seed), seeds)
            )
        assert threadpool_info() == before
        rows = rows[:20]
        for model, twin in zip(alone, together):
            np.testing.assert_array_equal(model.score_samples(rows), twin.score_samples(rows))
            np.testing.assert_array_equal(model.sample(5), twin.sample(5))


def through_pickle(model):
    return pickle.loads(pickle.dumps(model))


def through_file(model):
    with tempfile.TemporaryDirectory() as folder:
        save(model, f"{folder}/model.probgen")
        return load(f"{folder}/model.probgen")


@each(BRIEFLY_FITTED)
class TestCopies:
    @pytest.mark.parametrize("duplicate", [copy.deepcopy, through_pickle, through_file])
    def test_a_copy_scores_and_draws_alike(self, estimator, duplicate):
        model = fitted(estimator)
        model.sample(3)
        twin = duplicate(model)
        np.testing.assert_array_equal(twin.score_samples(X), model.score_samples(X))
        np.testing.assert_array_equal(twin.sample(5), model.sample(5))

    def test_a_clone_starts_anew(self, estimator):
        model = fit(estimator)
        unfitted = clone(model)
        assert not [name for name in vars(unfitted) if name.endswith("_")]
        np.testing.assert_array_equal(unfitted.fit(X, Y).sample(5), fit(estimator).sample(5))


@each(BRIEFLY_FITTED)
class TestFrames:
    NAMES = ("height", "width", "depth")

    @pytest.mark.parametrize(
        "container, frame", [("pandas", pd.DataFrame), ("polars", pl.DataFrame)]
    )
    def test_frames_in_frames_out(self, estimator, container, frame):
        table = frame(dict(zip(self.NAMES, X.astype(np.float32).T)))
        model = clone(estimator).set_output(transform=container).fit(table, Y)
        draws, representation = model.sample(4, random_state=0), model.transform(table)
        assert isinstance(draws, frame)
        assert isinstance(representation, frame)
        assert list(draws.columns) == list(model.feature_names_in_) == list(self.NAMES)
        assert list(representation.columns) == list(model.get_feature_names_out())
        assert draws.to_numpy().dtype == np.float32
        plain = fit(estimator, X.astype(np.float32))
        np.testing.assert_array_equal(draws.to_numpy(), plain.sample(4, random_state=0))
        np.testing.assert_array_equal(
            model.score_samples(table), plain.score_samples(X.astype(np.float32))
        )

    def test_a_frame_gives_arrays_by_default(self, estimator):
        model = fit(estimator, pd.DataFrame(X, columns=self.NAMES))
        assert isinstance(model.sample(), np.ndarray)

    def test_names_tell_the_class_and_the_column(self, estimator):
        names = fitted(estimator).get_feature_names_out()
        assert list(names) == [f"{type(estimator).__name__.lower()}{k}" for k in range(len(names))]


@each(BRIEFLY_FITTED)
class TestComposition:
    def test_pipeline(self, estimator):
        model = make_pipeline(StandardScaler(), clone(estimator)).fit(X, Y)
        scaled = StandardScaler().fit_transform(X)
        np.testing.assert_allclose(
            model.score_samples(X), fit(estimator, scaled).score_samples(scaled), rtol=1e-9
        )
        assert model.transform(X).shape[0] == 150

    def test_cross_val_score_is_the_held_out_score(self, estimator):
        folds = KFold(3)
        truth = [
            fit(estimator, X[train], Y[train]).score(X[test]) for train, test in folds.split(X)
        ]
        np.testing.assert_allclose(
            cross_val_score(clone(estimator), X, Y, cv=folds), truth, rtol=1e-12
        )

    def test_grid_search_in_two_processes(self, estimator):
        grid = {"random_state": [0, 1]}
        alone, together = (
            GridSearchCV(clone(estimator), grid, cv=2, n_jobs=n).fit(X, Y) for n in (1, 2)
        )
        scores = together.cv_results_["mean_test_score"]
        assert np.isfinite(scores).all()
        np.testing.assert_allclose(scores, alone.cv_results_["mean_test_score"], rtol=1e-9)
        assert together.best_estimator_.sample(3).shape == (3, 3)


@each(WEIGHTED)
@pytest.mark.parametrize("n_features", [3, 60])
def test_integer_weights_equal_repeated_rows(estimator, n_features):
    rows, y = make_rows(400, n_features)
    weights = np.random.default_rng(3).integers(0, 4, size=400)
    weighted = clone(estimator).fit(rows, y, sample_weight=weights)
    repeated = fit(estimator, np.repeat(rows, weights, axis=0), np.repeat(y, weights))
    np.testing.assert_allclose(
        weighted.score_samples(rows), repeated.score_samples(rows), rtol=1e-7
    )


PLANE = X[:, :2]
# Edges of 40 cells.
WIDE = [np.linspace(x.mean() - 9.0 * x.std(), x.mean() + 9.0 * x.std(), 41) for x in PLANE.T]


def is_network(estimator):
    return hasattr(estimator, "learning_rate_init")


def is_exact(estimator):
    return get_likelihood(estimator).kind == "exact"


def cell_masses(model, edges, y=None):
    """Integrals over cells by the midpoint rule; an axis with one edge is a known value."""
    n_inner = 8 if is_exact(model) else 3
    axes = []
    steps = []
    for e in edges:
        if len(e) == 1:
            axes.append(e)
            steps.append(1.0)
        else:
            step = (e[1] - e[0]) / n_inner
            axes.append(e[0] + step * (np.arange(n_inner * (len(e) - 1)) + 0.5))
            steps.append(step)
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    masses = np.exp(model.score_samples(points.reshape(-1, len(axes)), y)).reshape(
        points.shape[:-1]
    )
    for k, axis in enumerate(axes):
        masses = np.add.reduceat(masses, np.arange(0, len(axis), n_inner), axis=k) * steps[k]
    return masses


def assert_follow(draws, edges, probabilities):
    """Pearson's test of draws (n, k) against probabilities of cells, rare cells pooled."""
    counts = np.histogramdd(draws, bins=edges)[0]
    often = len(draws) * probabilities >= 5.0
    observed = np.append(counts[often], len(draws) - counts[often].sum())
    expected = np.append(probabilities[often], 1.0 - probabilities[often].sum()) * len(draws)
    assert len(observed) > 10
    assert chisquare(observed, expected).pvalue > 1e-3


def tolerance(estimator, exact):
    """Tolerance of an integral: rounding for exact densities, sampling noise for estimates."""
    return exact if is_exact(estimator) else 0.03


def n_draws(estimator):
    """Draws that bring an error to light; fewer where they, or what they are held against, cost."""
    if not is_exact(estimator):
        return 1500
    if is_network(estimator):
        return 3000
    return 10_000


def sharp(estimator):
    """Settings under which an estimated likelihood errs less than draws do."""
    if hasattr(estimator, "n_importance_samples"):
        return {"n_importance_samples": 128}
    if hasattr(estimator, "density"):
        return {"density": ParzenWindow(6144)}
    return {}


def blurred(model, draws):
    """Draws with the noise of the density where `sample` leaves the noise out."""
    if get_tags(model).draws_follow_density:
        return draws
    return draws + np.sqrt(model.noise_variance_) * np.random.default_rng(18).standard_normal(
        draws.shape
    )


@functools.cache
def on_plane(estimator):
    """One fit to two features, for tests of densities."""
    return fit(estimator, PLANE, **sharp(estimator))


LEVELS = (
    np.random.default_rng(5)
    .binomial(2, np.where(Y == "ash", 0.2, 0.7)[:, None], size=(150, 9))
    .astype(float)
)


# scikit-learn's check of sample weights feeds fractions to every estimator that takes weights.
LEVELS_ALONE = MixtureModel(2, distributions="categorical", random_state=0)


@each([*with_few_epochs(DISCRETE), LEVELS_ALONE])
class TestWholeNumbers:
    """The same promises, of generators that learn from nothing but whole numbers."""

    def test_batches_and_order_do_not_matter(self, estimator):
        rows = np.tile(LEVELS, (4, 1))
        model = fit(estimator, LEVELS)
        for query in (model.score_samples, model.transform):
            assert_rows_alone_decide(query, rows)

    def test_draws_are_levels_and_seeds_hold(self, estimator):
        model, twin = fit(estimator, LEVELS), fit(estimator, LEVELS)
        draws = [model.sample(20) for _ in range(2)]
        for drawn in draws:
            assert np.isin(drawn, [0.0, 1.0, 2.0]).all()
            np.testing.assert_array_equal(drawn, twin.sample(20))
        assert (draws[0] != draws[1]).any()
        np.testing.assert_array_equal(
            model.sample(20, random_state=3), twin.sample(20, random_state=3)
        )

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, through_pickle, through_file])
    def test_a_copy_scores_and_draws_alike(self, estimator, duplicate):
        model = fit(estimator, LEVELS)
        model.sample(3)
        twin = duplicate(model)
        np.testing.assert_array_equal(twin.score_samples(LEVELS), model.score_samples(LEVELS))
        np.testing.assert_array_equal(twin.sample(5), model.sample(5))

    def test_fits_in_threads_equal_fits_in_a_row(self, estimator):
        alone = [fit(estimator, LEVELS, random_state=seed) for seed in range(4)]
        with ThreadPoolExecutor(4) as pool:
            together = list(
                pool.map(lambda seed: fit(estimator, LEVELS, random_state=seed), range(4))
            )
        for model, twin in zip(alone, together):
            np.testing.assert_array_equal(model.score_samples(LEVELS), twin.score_samples(LEVELS))
            np.testing.assert_array_equal(model.sample(5), twin.sample(5))


@pytest.mark.filterwarnings("ignore:.* effective draws")  # of few networks, far from rows
class TestDensity:
    """Densities against quadrature and draws against densities, in one and two dimensions."""

    @each(GENERATORS)
    def test_integrates_to_one_over_the_line(self, estimator):
        rows = X[:, :1]
        model = fit(estimator, rows)
        n_points = 4001
        if is_exact(model):
            n_points = 20_001
        wide = 15.0 * rows.std()
        grid = np.linspace(rows.mean() - wide, rows.mean() + wide, n_points)
        assert np.trapezoid(
            np.exp(model.score_samples(grid[:, np.newaxis])), grid
        ) == pytest.approx(1.0, abs=tolerance(estimator, 1e-9))

    @each(GENERATORS)
    def test_draws_follow_the_density_over_the_plane(self, estimator):
        model = on_plane(estimator)
        masses = cell_masses(model, WIDE)
        assert masses.sum() == pytest.approx(1.0, abs=tolerance(estimator, 1e-6))
        assert_follow(blurred(model, model.sample(n_draws(model), random_state=12)), WIDE, masses)

    @each(CLASSIFIERS)
    def test_draws_follow_the_joint_density(self, estimator):
        model = on_plane(estimator)
        masses = np.stack([cell_masses(model, WIDE, label) for label in model.classes_])
        assert masses.sum() == pytest.approx(1.0, abs=tolerance(estimator, 1e-6))
        np.testing.assert_allclose(
            masses.sum(axis=(1, 2)), model.class_prior_, atol=tolerance(estimator, 1e-6)
        )
        draws, y = model.sample(n_draws(model), return_y=True, random_state=13)
        labelled = np.column_stack([np.searchsorted(model.classes_, y), blurred(model, draws)])
        assert_follow(labelled, [np.arange(4), *WIDE], masses)

    @each(CLASSIFIERS)
    def test_draws_of_a_class_follow_its_density(self, estimator):
        model = on_plane(estimator)
        labels = np.resize(model.classes_, n_draws(model))
        draws, y = model.sample(n_draws(model), y=labels, return_y=True, random_state=14)
        np.testing.assert_array_equal(y, labels)
        for label, prior in zip(model.classes_, model.class_prior_):
            assert_follow(
                blurred(model, draws[labels == label]),
                WIDE,
                cell_masses(model, WIDE, label) / prior,
            )

    @each(CONDITIONAL)
    @pytest.mark.parametrize("known", [0, 1])
    def test_draws_given_a_value_follow_the_conditional_density(self, estimator, known):
        model = on_plane(estimator)
        value, free = PLANE[:, known].mean(), 1 - known
        draws = model.sample(n_draws(model), given={known: value}, random_state=15)
        np.testing.assert_array_equal(draws[:, known], value)
        edges = [WIDE[0], np.array([value])] if known else [np.array([value]), WIDE[1]]
        masses = cell_masses(model, edges).ravel()
        assert_follow(draws[:, [free]], [WIDE[free]], masses / masses.sum())

    @each(CONDITIONAL)
    def test_draws_given_an_interval_follow_the_truncated_density(self, estimator):
        model = on_plane(estimator)
        low, high = PLANE[:, 0].mean(), PLANE[:, 0].mean() + 1.0
        draws = model.sample(n_draws(model), given={0: (low, high)}, random_state=16)
        assert ((draws[:, 0] >= low) & (draws[:, 0] <= high)).all()
        edges = [np.linspace(low, high, 9), WIDE[1]]
        masses = cell_masses(model, edges)
        assert_follow(draws, edges, masses / masses.sum())

    @each([estimator for estimator in CLASSIFIERS if estimator in CONDITIONAL])
    @pytest.mark.parametrize("condition", [0.5, (0.5, 1.5), (None, 0.0)])
    def test_classes_given_a_condition_follow_bayes_rule(self, estimator, condition):
        model = on_plane(estimator)
        _, y = model.sample(n_draws(model), given={0: condition}, return_y=True, random_state=17)
        if isinstance(condition, tuple):
            low, high = condition
            if low is None:
                low = -6.0  # four deviations below the mean
            edges = [np.linspace(low, high, 9), WIDE[1]]
        else:
            edges = [np.array([condition]), WIDE[1]]
        masses = np.array([cell_masses(model, edges, label).sum() for label in model.classes_])
        counts = [np.sum(y == label) for label in model.classes_]
        assert chisquare(counts, len(y) * masses / masses.sum()).pvalue > 1e-3

    @each(CONDITIONAL)
    def test_each_row_has_its_own_condition(self, estimator):
        model = fitted(estimator)
        given = np.where(np.random.default_rng(4).random(X.shape) < 0.5, X, np.nan)
        draws = model.sample(len(X), given=given)
        np.testing.assert_array_equal(np.where(np.isnan(given), np.nan, draws), given)
        assert np.isfinite(draws).all()

    @each(MARGINALISING)
    def test_a_missing_value_is_integrated_out(self, estimator):
        model = on_plane(estimator)
        values = np.quantile(PLANE[:, 0], [0.02, 0.5, 0.9])
        scores = model.score_samples(np.column_stack([values, np.full(3, np.nan)]))
        truth = [np.log(cell_masses(model, [np.array([value]), WIDE[1]]).sum()) for value in values]
        np.testing.assert_allclose(scores, truth, atol=1e-6 if is_exact(model) else 0.1)
        assert model.score_samples([[np.nan, np.nan]]) == pytest.approx(
            0.0, abs=1e-12 if is_exact(model) else 0.1
        )


# Their whole fit takes as many epochs as that of one machine.
BELIEFS_ALONE = {
    "hidden_layer_sizes",
    "max_iter",
    "n_importance_samples",
    "n_pretraining",
    "up_down_rate",
}
KIN = [  # a class, another with its parameters, and those that differ or are missing on purpose
    (VAE, ConditionalVAE, set()),
    (ConditionalVAE, SemiSupervisedVAE, {"handle_unknown"}),
    (PixelCNN, ConditionalPixelCNN, set()),
    (FullyVisibleBeliefNetwork, MADE, {"input_dropout"}),
    (GAN, ConditionalGAN, set()),
    (DeepBeliefNetwork, DeepBeliefClassifier, set()),
    (DeepBeliefNetwork, RestrictedBoltzmannMachine, BELIEFS_ALONE),
    (ConditionalGAN, AuxiliaryClassifierGAN, set()),
    (GAN, VAEGAN, {"encoder", "prior", "truncation", "augmentation"}),
]


@pytest.mark.parametrize("kind, relative, different", KIN)
def test_kin_share_parameters_and_defaults(kind, relative, different):
    defaults = kind().get_params(deep=False)
    of_relative = relative().get_params(deep=False)
    assert defaults.keys() - different <= of_relative.keys()
    for name in defaults.keys() - different:
        assert of_relative[name] == defaults[name], name
