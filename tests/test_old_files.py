"""Files of earlier versions: they open, and score, draw and go on as when they were written."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import InconsistentVersionWarning

import probgen

FILES = sorted((Path(__file__).parent / "files").glob("*/*.probgen"))


def opened(path):
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", InconsistentVersionWarning
        )  # steps of scikit-learn's of another version
        return probgen.load(path, device="cpu")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_old_file_scores_and_draws_as_when_it_was_written(path):
    model = opened(path)
    with np.load(path.with_suffix(".npz")) as answers:
        rows = answers["rows"]
        # Other processors round products differently; what is written is single precision for most
        # networks.
        np.testing.assert_allclose(
            model.score_samples(rows), answers["scores"], rtol=1e-4, atol=1e-3
        )
        np.testing.assert_allclose(model.transform(rows), answers["codes"], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(
            model.sample(3, random_state=1), answers["draws"], rtol=1e-4, atol=1e-3
        )
        np.testing.assert_allclose(model.sample(3), answers["stream"], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_old_file_can_be_saved_anew_and_trained_further(path, tmp_path):
    model = opened(path)
    probgen.save(model, tmp_path / "model.probgen")
    with np.load(path.with_suffix(".npz")) as answers:
        rows = answers["rows"]
    if hasattr(model, "_training_state"):
        epochs = model.n_iter_
        labels = np.resize(model.classes_, len(rows)) if hasattr(model, "classes_") else None
        model.partial_fit(rows, labels)
        assert model.n_iter_ == epochs + 1
        assert np.isfinite(model.score(rows))


def test_every_family_has_a_file():
    classes = {type(opened(path)).__name__ for path in FILES}
    assert set(probgen.estimators.__all__) | {"GenerativePipeline"} <= classes


PARAMETERS = {  # of old files, in today's form
    "made_gaussian": {"likelihood": "auto", "likelihood__n_mixture": 2, "n_orderings": 2},
    "made_categorical": {"likelihood": "categorical", "likelihood__n_levels": 5},
    "made_order_agnostic": {"likelihood": "auto", "likelihood__n_mixture": 2},
    "fvbn": {"likelihood": "auto"},
    "pixelcnn_levels": {
        "likelihood": "auto",
        "likelihood__n_mixture": 2,
        "likelihood__n_levels": 17,
    },
    "pixelcnn_bits": {"likelihood": "auto"},
    "conditional_pixelcnn": {"likelihood": "auto"},
    "pixelrnn_row": {"likelihood": "auto"},
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_an_old_file_keeps_its_parameters(name):
    (path,) = [path for path in FILES if path.stem == name]
    parameters = opened(path).get_params()
    for key, value in PARAMETERS[name].items():
        assert getattr(parameters[key], "name", parameters[key]) == value
