"""The contract that every generator keeps: its public methods, and what their numbers mean.

A generator writes `fit` and the hooks `_sample`, `_score_samples` and `_transform` on validated
arrays. The mixins here give the public methods, which validate their arguments once and return
results in the caller's container and precision.
"""

from probgen.base.class_generator import ClassGeneratorMixin
from probgen.base.generator import DecoderMixin, GeneratorMixin, ImputerMixin
from probgen.base.tags import GeneratorTags, Likelihood, get_likelihood

__all__ = [
    "ClassGeneratorMixin",
    "DecoderMixin",
    "GeneratorMixin",
    "GeneratorTags",
    "ImputerMixin",
    "Likelihood",
    "get_likelihood",
]
