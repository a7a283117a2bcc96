"""Options: each setting is reached from each string, and bad options raise one sentence."""

import inspect

import pyro.infer
import pytest
from sklearn.base import clone

import probgen
from probgen import GAN, VAE
from probgen.options import ELBO, R1, Option

KINDS = [getattr(probgen.estimators, name) for name in probgen.estimators.__all__]
STRINGS = [
    pytest.param(kind, name, string, id=f"{kind.__name__}-{name}-{string}")
    for kind in KINDS
    for name, makers in getattr(kind, "_options", {}).items()
    for string in makers
    if string is not None
]


def public_options():
    objects = [getattr(probgen.options, name) for name in probgen.options.__all__]
    return [kind for kind in objects if kind is not Option]


@pytest.mark.parametrize("kind, name, string", STRINGS)
class TestStrings:
    def test_each_setting_is_reached_from_the_string(self, kind, name, string):
        option = kind._options[name][string]()
        for setting, value in option.get_params().items():
            model = clone(kind(**{name: string})).set_params(**{f"{name}__{setting}": value})
            changed = getattr(model, name)
            assert type(changed) is type(option)
            assert changed.get_params() == option.get_params()

    def test_the_option_is_taken_in_place_of_the_string(self, kind, name, string):
        model = kind(**{name: string})
        option = model._option(name)
        assert isinstance(option, Option)
        assert kind(**{name: option})._option(name) is option
        model._check_options()
        model.set_params(**{name: option})._check_options()
        assert getattr(clone(model), name).get_params() == option.get_params()


def test_every_option_has_a_string():
    reached = {
        type(kind._options[name][string]()) for kind, name, string in (p.values for p in STRINGS)
    }
    assert reached == set(public_options())


def test_the_default_of_a_parameter_is_a_string_or_none():
    for kind in KINDS:
        for name in getattr(kind, "_options", {}):
            default = inspect.signature(kind).parameters[name].default
            assert default in kind._options[name]


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"elbo": 3}, "elbo must be one of 'mean_field', 'trace', 'iwae'; got 3. Or give an"),
        ({"elbo": R1()}, r"got R1\(\). Or give an object of probgen.options: ELBO\(\)."),
        ({"elbo": ELBO}, r"got <class '.*ELBO'>. Or give an object of probgen.options: ELBO\(\)."),
        ({"elbo": ELBO(n_particles=0)}, "n_particles must be an integer >= 1; got 0"),
    ],
)
def test_fit_refuses_what_is_no_option(parameters, message):
    with pytest.raises(ValueError, match=message):
        VAE(**parameters).fit([[0.0], [1.0]])


@pytest.mark.parametrize(
    "model, setting, message",
    [
        (GAN(penalty=None), "penalty__weight", "penalty__weight .* but penalty is None; set penal"),
        (VAE(elbo="elba"), "elbo__free_bits", "elbo__free_bits .* but elbo is 'elba'; set elbo"),
        (VAE(elbo=pyro.infer.Trace_ELBO()), "elbo__free_bits", "but elbo is <pyro.*; set elbo too"),
        (GAN(loss="hinge"), "loss__label_smoothing", "Invalid parameter 'label_smoothing'"),
    ],
)
def test_a_setting_needs_an_option_that_has_it(model, setting, message):
    with pytest.raises(ValueError, match=message):
        model.set_params(**{setting: 0.1})


def test_a_string_and_a_setting_are_set_together():
    model = VAE(elbo=ELBO(kl_warmup=3)).set_params(elbo__free_bits=0.1, elbo="trace")
    assert model.elbo.get_params() == ELBO("trace", free_bits=0.1).get_params()
