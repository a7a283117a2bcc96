"""Hidden Markov models against hmmlearn's answers for equal parameters.

`references/write_hmmlearn.py` wrote them.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from chains import categorical_chain, gaussian_chain, poisson_chain

from probgen.sequences import from_lengths, to_lengths

PATH = Path(__file__).parent / "references" / "hmmlearn.json"
CASES = json.loads(PATH.read_text(encoding="utf-8"))["cases"]
TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}


def model_of(name, case):
    """Our model of hmmlearn's parameters."""
    own = case["parameters"]
    common = own["startprob"], own["transmat"], max(case["lengths"])
    if name == "categorical":
        return categorical_chain(*common, own["emissionprob"])
    if name == "poisson":
        return poisson_chain(*common, own["lambdas"])
    covariance_type = name.split()[1]
    gaussians = own["means"], own["covars"], covariance_type, own.get("weights")
    return gaussian_chain(*common, *gaussians)


def parameters_of(model):
    """Parameters of our model under hmmlearn's names."""
    found = {"startprob": model.start_probabilities_, "transmat": model.transition_matrix_}
    if hasattr(model, "means_"):
        return {**found, "means": model.means_, "covars": model.covariances_}
    described = model.parameters_
    if model.emission == "categorical":
        return {**found, "emissionprob": described[0]["probabilities"]}
    means = [described[j]["mean"] for j in sorted(described)]
    return {**found, "lambdas": np.transpose(means)}


@pytest.mark.parametrize("name", CASES)
def test_scores_posteriors_and_paths(name):
    case = CASES[name]
    model = model_of(name, case)
    rows = from_lengths(case["X"], case["lengths"])
    np.testing.assert_allclose(model.score_samples(rows), case["scores"], **TOLERANCE)
    n, n_steps = len(rows), max(case["lengths"])
    posteriors, lengths = to_lengths(model.posterior(rows).reshape(n, -1), 3)
    np.testing.assert_array_equal(lengths, case["lengths"])
    np.testing.assert_allclose(posteriors, case["posteriors"], **TOLERANCE)
    paths = model.decode(rows)
    is_there = np.arange(n_steps) < lengths[:, None]
    np.testing.assert_array_equal(paths[is_there], case["paths"])


@pytest.mark.filterwarnings("ignore:.*did not converge")
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "after" in case])
def test_an_iteration(name):
    case = CASES[name]
    model = model_of(name, case).set_params(max_iter=1, tol=0.0)
    model.fit(from_lengths(case["X"], case["lengths"]))
    found = parameters_of(model)
    assert model.n_iter_ == 1
    for key, truth in case["after"].items():
        np.testing.assert_allclose(found[key], truth, **TOLERANCE, err_msg=key)
