"""Generators that take frames of mixed columns natively: the same table comes out."""

import numpy as np
import pandas as pd
import pytest
from polars.testing import assert_frame_equal
from sklearn.base import clone
from tables import dice, mixed_frame, mixed_polars

import probgen
from probgen import (
    MADE,
    VAE,
    BayesClassifier,
    FullyVisibleBeliefNetwork,
    MixtureModel,
    TableEncoder,
    get_likelihood,
)

QUICK = {"max_iter": 2, "random_state": 0, "device": "cpu"}
MODELS = [
    MixtureModel(3, random_state=0),
    MADE((16,), **QUICK),
    FullyVisibleBeliefNetwork(**QUICK),
    VAE(2, hidden_layer_sizes=(16,), n_importance_samples=16, **QUICK),
]
FRAMES = {
    "pandas": mixed_frame(300),
    "polars": mixed_polars(300),
    "dice": dice()[:400],
}
FITTED = {}
each = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*effective", "ignore:.*did not converge", "ignore:.*EM moved"
)


def fitted(model, name):
    """The model, fitted once to a frame; tests draw with seeds, and so leave it as it is."""
    key = type(model).__name__, name
    if key not in FITTED:
        FITTED[key] = clone(model).fit(FRAMES[name])
    return FITTED[key]


@each
@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_draws_are_frames_like_the_fitted_one(model, name):
    frame, model = FRAMES[name], fitted(model, name)
    drawn = model.sample(40, random_state=0)
    assert type(drawn) is type(frame)
    assert list(drawn.columns) == list(frame.columns)
    assert list(drawn.dtypes) == list(frame.dtypes)
    assert np.isfinite(model.score_samples(frame[:20])).all()
    assert list(model.columns_["kind"]) == list(TableEncoder().fit(frame).columns_["kind"])


@each
def test_has_the_measure_of_the_table(model):
    discrete = FRAMES["dice"][["kind", "eyes"]]
    assert get_likelihood(fitted(model, "dice")).measure == "mixed"
    assert get_likelihood(clone(model).fit(discrete)).measure == "counting"


@each
def test_conditions_speak_of_names_and_values(model):
    model = fitted(model, "pandas")
    given = {"city": {"Ulm", None}, "size": ("m", None), "day": ("2020-02-01", "2020-09-01")}
    drawn = model.sample(20, given=given, random_state=0)
    assert set(drawn["city"].dropna()) <= {"Ulm"}
    assert set(drawn["size"]) <= {"m", "l", "xl"}
    days = drawn["day"].dt.tz_localize(None)
    assert days.between(pd.Timestamp("2020-02-01"), pd.Timestamp("2020-09-01")).all()
    drawn = model.sample(2, given={"flag": [True, False], "rain": 0.0}, random_state=0)
    assert drawn["flag"].tolist() == [True, False]
    assert drawn["rain"].tolist() == [0.0, 0.0]


@each
def test_gaps_are_filled_in_the_frame_they_are_in(model):
    model = clone(model).set_params(missing="marginalise").fit(dice()[:400])
    gaps = dice()[400:410].astype({"eyes": "Int64"})
    gaps.loc[402, "kind"] = None
    gaps.loc[405, "eyes"] = pd.NA
    gaps.loc[407, "rain"] = np.nan
    for method in ("mean", "draw"):
        filled = model.impute(gaps, method=method, random_state=0)
        assert not filled.isna().any().any()
        assert list(filled.index) == list(gaps.index)
        seen = gaps.notna()
        assert (
            (filled.astype(object)[seen] == gaps.astype(object)[seen])[seen]
            .fillna(True)
            .all()
            .all()
        )


@each
def test_categories_that_were_not_seen_score_low_and_are_not_drawn(model):
    model = fitted(model, "dice")
    row = dice()[:1]
    assert model.score(row.assign(kind="z")) < model.score(row)
    assert set(model.sample(300, random_state=0)["kind"]) <= {"a", "b", "c"}
    strict = clone(model).set_params(handle_unknown="error").fit(FRAMES["dice"])
    with pytest.raises(ValueError, match="column 'kind' has 'z', which is none of its 3"):
        strict.score(row.assign(kind="z"))
    with pytest.raises(ValueError, match="given\\['kind'\\] is no value that the model knows"):
        model.sample(given={"kind": "z"})


@each
def test_kinds_of_columns_can_be_named(model):
    named = clone(model).set_params(kinds={"rain": "category"}).fit(FRAMES["dice"])
    assert list(named.columns_["kind"]) == ["category", "integer", "category"]
    assert get_likelihood(named).measure == "counting"
    assert list(named.sample(9, random_state=0).dtypes) == list(FRAMES["dice"].dtypes)
    with pytest.raises(ValueError, match="kinds names column 'nose', which X does not have"):
        clone(model).set_params(kinds={"nose": "real"}).fit(FRAMES["dice"])


@each
def test_other_columns_are_refused_by_name(model):
    model = fitted(model, "dice")
    with pytest.raises(ValueError, match="kind"):
        model.score(dice()[["eyes", "rain"]])
    with pytest.raises(ValueError, match="order"):
        model.score(dice()[["rain", "eyes", "kind"]])
    with pytest.raises(ValueError, match="frame"):
        model.score(np.zeros((3, 3)))


@each
def test_survives_a_file(model, tmp_path):
    model = fitted(model, "polars")
    probgen.save(model, tmp_path / "model.probgen")
    opened = probgen.load(tmp_path / "model.probgen")
    assert_frame_equal(opened.sample(5, random_state=0), model.sample(5, random_state=0))
    rows = FRAMES["polars"][:30]
    np.testing.assert_array_equal(opened.score_samples(rows), model.score_samples(rows))


@each
def test_a_classifier_of_it_reads_frames(model):
    frame = FRAMES["dice"]
    labels = np.where(frame["eyes"] > 3, "high", "low")
    classifier = BayesClassifier(clone(model), random_state=0).fit(frame, labels)
    assert (classifier.predict(frame) == labels).mean() > 0.6
    drawn = classifier.sample(20, y="low", random_state=0)
    assert list(drawn.dtypes) == list(frame.dtypes)


def test_naive_bayes_of_mixed_columns_is_the_product_of_its_columns():
    frame = dice()
    labels = np.where(frame["eyes"] > 3, "high", "low")
    classifier = BayesClassifier(MixtureModel(1), random_state=0).fit(frame, labels)
    whole = classifier.predict_log_proba(frame[:50])
    columns = np.log(classifier.class_prior_)
    for name in frame:
        one = BayesClassifier(MixtureModel(1), random_state=0).fit(frame[[name]], labels)
        columns = columns + one.predict_log_proba(frame[[name]][:50]) - np.log(one.class_prior_)
    expected = columns - np.logaddexp.reduce(columns, axis=1, keepdims=True)
    np.testing.assert_allclose(whole, expected, atol=1e-9)
