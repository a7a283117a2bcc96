"""The one training engine of all neural generators."""

from importlib import import_module

_HOMES = {
    "AdversarialDoctor": "callbacks",
    "Callback": "callbacks",
    "Checkpoint": "callbacks",
    "History": "history",
    "LatentDoctor": "callbacks",
    "Objective": "objective",
    "Phase": "objective",
    "ProgressBar": "callbacks",
    "SampleHistory": "callbacks",
    "TensorBoard": "callbacks",
    "Trainer": "trainer",
}

__all__ = sorted(_HOMES)


def __getattr__(name):
    if name in _HOMES:
        return getattr(import_module(f"probgen.training.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'probgen.training' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
