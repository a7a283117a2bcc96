"""Base classes of options, and of the estimators that take them."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

from sklearn.base import BaseEstimator

from probgen._validation import check_choice


class Option(BaseEstimator):
    """One choice for a parameter of an estimator, with the settings that only this choice has.

    Each option has a string, which an estimator takes for the option with the estimator's default
    settings. A grid search sets the settings by names such as `elbo__n_particles`, even where the
    parameter is a string.
    """

    name: ClassVar[str]  # the string of the option

    def check(self) -> None:
        """Raise a ValueError of one sentence for the first setting that is out of range."""


class TakesOptions:
    """Mixin for estimators whose parameters are options, or strings of options.

    A subclass lists these parameters in `_options`. Each has a mapping from the strings that it
    accepts to functions that make the option; a key None accepts None.
    """

    _options: ClassVar[Mapping[str, Mapping[str | None, Callable[[], Any]]]] = {}

    def set_params(self, **params: Any) -> Self:
        """Set parameters, and settings of options by names such as elbo__n_particles.

        Parameters
        ----------
        **params : object
            Values by name. If a parameter is the string of an option, setting one of the option's
            settings replaces the string by the option.

        Returns
        -------
        self : estimator object
        """
        nested = {name.partition("__")[0] for name in params if "__" in name}
        for name in nested & self._options.keys():
            value = params.get(name, getattr(self, name))
            if value is None:
                setting = next(key for key in params if key.startswith(f"{name}__"))
                raise ValueError(f"{setting} needs a {name}, which is None; set {name} too.")
            if isinstance(value, str) and value in self._options[name]:
                params[name] = self._options[name][value]()
        return super().set_params(**params)  # type: ignore[misc]

    def _option(self, name: str) -> Any:
        """The option of a parameter that is an option, its string or None; None for None."""
        value = getattr(self, name)
        if value is None or isinstance(value, str):
            return self._options[name][value]()
        return value

    def _check_options(self) -> None:
        """Raise a ValueError of one sentence for the first option that is wrong."""
        for name, makers in self._options.items():
            value = getattr(self, name)
            if self._accepts(name, value) or (value is None and None in makers):
                continue
            if isinstance(value, Option):
                kinds = {type(make()) for key, make in makers.items() if key is not None}
                if type(value) not in kinds:
                    listed = ", ".join(sorted(f"{kind.__name__}()" for kind in kinds))
                    raise ValueError(f"{name} must be one of {listed}; got {value!r}.")
                value.check()
                continue
            strings = [key for key in makers if key is not None]
            hint = "Or give an object of probgen.options."
            if None in makers:
                hint = "Or give an object of probgen.options, or None."
            check_choice(name, value, strings, hint=hint)

    def _accepts(self, name: str, value: Any) -> bool:
        """Whether a parameter takes a value that is neither an option nor a string."""
        return False
