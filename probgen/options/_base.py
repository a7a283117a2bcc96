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

        Raises
        ------
        ValueError
            If there is no such parameter or setting.
        """
        for setting in list(params):
            name, is_nested, _ = setting.partition("__")
            if not is_nested or name not in self._options:
                continue
            value = params.get(name, getattr(self, name))
            if isinstance(value, Option):
                continue
            if not isinstance(value, str) or value not in self._options[name]:
                raise ValueError(
                    f"{setting} is a setting of an option, but {name} is {value!r}; set {name} too."
                )
            params[name] = self._options[name][value]()
        return super().set_params(**params)  # type: ignore[misc]  # of the estimator to its right

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
            strings = [key for key in makers if key is not None]
            kinds = dict.fromkeys(type(makers[key]()) for key in strings)
            if type(value) in kinds:
                value.check()
                continue
            objects = ", ".join(f"{kind.__name__}()" for kind in kinds)
            hint = f"Or give an object of probgen.options: {objects}."
            if None in makers:
                hint += " Or None."
            check_choice(name, value, strings, hint=hint)

    def _accepts(self, name: str, value: Any) -> bool:
        """Whether a parameter takes a value that is neither an option nor a string."""
        return False
