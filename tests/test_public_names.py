"""What is public: names that open, signatures that are annotated, words that have one meaning."""

import importlib
import inspect

import pytest

import probgen
from probgen.base import GeneratorMixin

PUBLIC_MODULES = ("probgen", *(f"probgen.{name}" for name in probgen._SUBMODULES))


def _public_objects():
    """Every public class and function by its name."""
    objects = {}
    for module_name in PUBLIC_MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            found = getattr(module, name)
            if inspect.isclass(found) or inspect.isroutine(found):
                objects[f"{found.__module__}.{found.__qualname__}"] = found
    return objects


OBJECTS = _public_objects()


def _signatures(found):
    """The functions of a class that are public and the project's own, or a function itself."""
    if not inspect.isclass(found):
        return {found.__qualname__: inspect.unwrap(found)}
    own = {}
    for kind in found.__mro__:
        if not kind.__module__.startswith("probgen."):
            continue
        for name, member in vars(kind).items():
            if name.startswith("_") and name != "__init__":
                continue
            function = member.fget if isinstance(member, property) else member
            function = getattr(function, "__func__", function)
            if inspect.isfunction(function):
                own.setdefault(f"{kind.__qualname__}.{name}", function)
    return own


@pytest.mark.parametrize("name", OBJECTS)
def test_public_signatures_are_annotated(name):
    missing = []
    for qualname, function in _signatures(OBJECTS[name]).items():
        if function.__module__ is None or not function.__module__.startswith("probgen."):
            continue
        signature = inspect.signature(function)
        for parameter in signature.parameters.values():
            if parameter.name not in ("self", "cls") and parameter.annotation is parameter.empty:
                missing.append(f"{qualname}({parameter.name})")
        if signature.return_annotation is signature.empty and not qualname.endswith("__init__"):
            missing.append(f"{qualname} -> ?")
    assert missing == []


@pytest.mark.parametrize("name", [n for n, found in OBJECTS.items() if inspect.isclass(found)])
def test_constructors_name_their_parameters(name):
    parameters = inspect.signature(OBJECTS[name].__init__).parameters.values()
    assert not [p.name for p in parameters if p.kind is p.VAR_KEYWORD and p.name != "kwargs"]


GENERATORS = [getattr(probgen.estimators, name) for name in probgen.estimators.__all__]


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda kind: kind.__name__)
class TestWords:
    """A parameter of one name means the same in every generator."""

    def test_constructors_are_short(self, generator):
        assert len(inspect.signature(generator).parameters) <= 28

    def test_parameters_of_one_name_take_one_kind_of_value(self, generator):
        defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(generator).parameters.items()
        }
        assert defaults.get("architecture", "dense") == "dense"
        assert defaults.get("prior", "normal") == "normal"
        assert isinstance(defaults.get("density", "auto"), str)
        assert defaults.get("latent_density") is None
        gone = {"noise", "n_logistics", "noise_scale", "n_levels", "penalty_weight", "n_particles"}
        assert not gone & defaults.keys()

    def test_components_are_of_a_mixture_or_of_a_code(self, generator):
        if "n_components" in inspect.signature(generator).parameters:
            is_mixture = any(word in generator.__name__ for word in ("Gaussian", "Mixture"))
            is_chain = hasattr(generator, "decode")
            assert hasattr(generator, "inverse_transform") or is_mixture or is_chain
        assert issubclass(generator, GeneratorMixin)
