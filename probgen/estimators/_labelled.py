"""Signatures of constructors that hand parameters on to those of a parent."""

import inspect


def with_parameters_of(parent, without=()):
    """Decorator of an `__init__` that hands **parameters on to the parent's: its signature names
    those too.

    `without` names those that it sets itself.
    """

    def decorate(function):
        own = inspect.signature(function).parameters
        theirs = inspect.signature(parent.__init__).parameters
        kept = [
            parameter for parameter in own.values() if parameter.kind is not parameter.VAR_KEYWORD
        ]
        kept += [
            parameter
            for name, parameter in theirs.items()
            if name not in own and name not in without
        ]
        function.__signature__ = inspect.Signature(kept)
        return function

    return decorate
