"""Write hmmlearn.json: hmmlearn's answers for given parameters, and the names of its tests.

Run it where hmmlearn and pytest are installed; the tests need no hmmlearn:

    python tests/references/write_hmmlearn.py

Each case holds parameters, sequences one after another with their lengths, and hmmlearn's scores
of the sequences, posteriors and most probable paths of their steps, and, where hmmlearn has no
prior, the parameters after one iteration of EM. The names of hmmlearn's own tests come with how
often each is run.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import hmmlearn
import numpy as np
from hmmlearn.hmm import GMMHMM, CategoricalHMM, GaussianHMM, PoissonHMM

K, D, M = 3, 2, 2
LENGTHS = [14, 1, 9, 5]
COVARIANCE_TYPES = ("spherical", "diag", "tied", "full")
RNG = np.random.default_rng(0)


def positive_definite(*shape):
    """Matrices (..., D, D)."""
    factors = RNG.normal(size=(*shape, D, D))
    return factors @ factors.swapaxes(-1, -2) + 0.5 * np.eye(D)


def chain():
    """Parameters of a chain of K states that stay."""
    transitions = RNG.dirichlet(np.ones(K), size=K) + np.eye(K)
    return {"startprob": RNG.dirichlet(np.ones(K)), "transmat": transitions / 2.0}


def covariances(covariance_type, n_mix=None):
    """Covariances in hmmlearn's shape."""
    states = (K,) if n_mix is None else (K, n_mix)
    if covariance_type == "spherical":
        return RNG.uniform(0.5, 2.0, size=states)
    if covariance_type == "diag":
        return RNG.uniform(0.5, 2.0, size=(*states, D))
    if covariance_type == "full":
        return positive_definite(*states)
    return positive_definite()


def gaussian(covariance_type):
    """A GaussianHMM without priors, and its parameters."""
    parameters = {**chain(), "means": RNG.normal(size=(K, D)) * 2.0}
    parameters["covars"] = covariances(covariance_type)
    priors = {"covars_prior": 0.0, "covars_weight": 0.0, "min_covar": 0.0}
    return GaussianHMM(K, covariance_type, **priors), parameters


def mixture(covariance_type):
    """A GMMHMM and its parameters; where covariances are tied, all states share one."""
    parameters = {**chain(), "means": RNG.normal(size=(K, M, D)) * 2.0}
    parameters["weights"] = RNG.dirichlet(np.ones(M), size=K)
    parameters["covars"] = covariances(covariance_type, M)
    return GMMHMM(K, n_mix=M, covariance_type=covariance_type), parameters


def categorical():
    """A CategoricalHMM and its parameters."""
    model = CategoricalHMM(K, n_features=4)
    return model, {**chain(), "emissionprob": RNG.dirichlet(np.ones(4), size=K)}


def poisson():
    """A PoissonHMM without priors, and its parameters."""
    model = PoissonHMM(K, lambdas_prior=0.0, lambdas_weight=0.0)
    return model, {**chain(), "lambdas": RNG.uniform(0.3, 6.0, size=(K, D))}


def steps(model):
    """Steps for a model, some of which repeat."""
    n = sum(LENGTHS)
    if isinstance(model, CategoricalHMM):
        return RNG.integers(4, size=(n, 1))
    if isinstance(model, PoissonHMM):
        return RNG.poisson(2.5, size=(n, D))
    return RNG.normal(size=(n, D)) * 2.0


def set_parameters(model, parameters):
    """Give a model its parameters."""
    model.n_features = getattr(model, "n_features", D)
    for name, value in parameters.items():
        if name == "covars" and isinstance(model, GMMHMM) and model.covariance_type == "tied":
            value = np.tile(value, (K, 1, 1))
        setattr(model, f"{name}_", value)


def fitted_parameters(model, names):
    """Parameters of a model, with covariances as they are given."""
    found = {}
    for name in names:
        value = getattr(model, f"{name}_")
        if name == "covars" and model.covariance_type == "spherical":
            value = value[::D, 0, 0]  # a fit repeats them for each feature
        if name == "covars" and model.covariance_type == "diag":
            value = np.diagonal(value, axis1=1, axis2=2)
        if name == "covars" and model.covariance_type == "tied":
            value = value[0]
        found[name] = np.asarray(value).tolist()
    return found


def case(model, parameters, has_prior):
    """hmmlearn's answers."""
    X = steps(model)
    set_parameters(model, parameters)
    ends = np.cumsum(LENGTHS)[:-1]
    found = {
        "parameters": {name: value.tolist() for name, value in parameters.items()},
        "X": X.tolist(),
        "lengths": LENGTHS,
        "scores": [model.score(part) for part in np.split(X, ends)],
        "posteriors": model.predict_proba(X, LENGTHS).tolist(),
        "paths": model.decode(X, LENGTHS)[1].tolist(),
    }
    if not has_prior:
        model.set_params(n_iter=1, init_params="", tol=-np.inf)
        model.fit(X, LENGTHS)
        found["after"] = fitted_parameters(model, parameters)
    return found


def own_tests():
    """How often each of hmmlearn's tests is run, by module and name."""
    command = [sys.executable, "-m", "pytest", "--pyargs", "hmmlearn", "--collect-only", "-q"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout
    found = re.findall(r"test_(\w+)\.py::(?:\w+::)?test_(\w+)", listing)
    return Counter(f"{module}: {name}" for module, name in found)


def main():
    """Write the file beside this one."""
    cases = {}
    for covariance_type in COVARIANCE_TYPES:
        cases[f"gaussian {covariance_type}"] = case(*gaussian(covariance_type), False)
        cases[f"mixture {covariance_type}"] = case(*mixture(covariance_type), True)
    cases["categorical"] = case(*categorical(), False)
    cases["poisson"] = case(*poisson(), False)
    versions = {"hmmlearn": hmmlearn.__version__, "numpy": np.__version__}
    lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in cases.items()]
    head = f'{{"versions": {json.dumps(versions)},\n"tests": {json.dumps(own_tests())},\n'
    text = f'{head}"cases": {{\n' + ",\n".join(lines) + "}}\n"
    Path(__file__).with_name("hmmlearn.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
