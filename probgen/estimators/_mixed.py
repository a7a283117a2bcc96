"""What generators with networks share that take rows of mixed columns natively."""

from typing import Any

import numpy as np
import torch

from probgen.base.table_generator import TableMixin
from probgen.conditions.given import Conditions
from probgen.conditions.mixed import MixedConditions
from probgen.distributions.mixed import MixedObservation
from probgen.estimators._observation import ObservationGenerator
from probgen.options import AutoLikelihood, Mixed, Option
from probgen.options.likelihoods import MOST_LEVELS
from probgen.row_blocks import RowBlocks
from probgen.tables.categorical import is_from_dtype, named_categories
from probgen.tables.coder import RowCoder
from probgen.tables.columns import Column, check_codes, log_fixed
from probgen.tables.frames import has_categories, is_frame
from probgen.tables.table import Table
from probgen.training.statistics import RowStatistics


class MixedRowsMixin(TableMixin, ObservationGenerator):
    """Base of generators with an observation model that take mixed rows natively.

    A subclass takes `likelihood` and `categorical_features` in its constructor. With
    likelihood="mixed", or "auto" where a column is a category, `_columns` describes the columns,
    and the networks see the features of `_coder`, in single precision; else both are None.
    """

    _columns: Any = None
    _coder: RowCoder | None = None
    categorical_features: Any
    kinds: Any
    _dtype: Any

    def _array_columns(self, X: np.ndarray) -> Any:
        """The columns of validated rows (n, d) of an array, None where none is a category."""
        names = getattr(self, "feature_names_in_", range(X.shape[1]))
        categories = named_categories(self.categorical_features, names)
        if self._likelihood_name != "mixed" and not categories:
            return None
        columns = [Column(j, "real", rest="modelled") for j in range(X.shape[1])]
        for j in categories:
            columns[j] = _category(j, X[:, j])
        return columns

    def _reads_table(self, frame: Any) -> bool:
        if self._likelihood_name != "auto":
            return self._likelihood_name == "mixed"
        if not is_from_dtype(self.categorical_features):
            return self._names_categories
        return has_categories(frame)

    @property
    def _names_categories(self) -> bool:
        """Whether categorical_features says which columns are categories."""
        features = self.categorical_features
        return features is not None and not is_from_dtype(features)

    def _may_be_mixed(self, X: Any) -> bool:
        """Whether rows of a fit may be of mixed columns."""
        if self._likelihood_name not in ("auto", "mixed"):
            return False
        if is_frame(X):
            return self._reads_table(X)
        is_named = self._names_categories or isinstance(self.kinds, Table)
        return self._likelihood_name == "mixed" or is_named

    def _read(self, X: Any, y: Any, *, reset: bool, ensure_min_samples: int) -> tuple:
        is_mixed = self._coder is not None
        if reset:
            self._columns = self._coder = None
            is_mixed = self._may_be_mixed(X)
        rows = X
        if is_mixed:
            if isinstance(X, RowBlocks | torch.utils.data.Dataset):
                raise ValueError(
                    "X must be an array or a frame where columns are mixed; got a"
                    f" {type(X).__name__}; take another likelihood to stream it."
                )
            rows = self._validate(X, reset=reset, ensure_min_samples=ensure_min_samples)
        if self._columns is None:
            return super()._read(X, y, reset=reset, ensure_min_samples=ensure_min_samples)
        self._check_mixed(rows)
        if reset:
            self._coder = RowCoder.of_rows(self._columns, rows)
            if not self._coder.features:
                raise ValueError("X must hold a column that varies; got constant ones alone.")
        return (self._encoded(rows).astype(np.float32),)

    def _check_mixed(self, X: np.ndarray) -> None:
        """Raise unless rows of codes (n, d) of a fit can be learned from."""
        check_codes(self._columns, X)
        if self.dynamic_binarization:
            raise ValueError(
                "dynamic_binarization=True draws rows of 0 and 1, but X has columns that are"
                " categories; take dynamic_binarization=False."
            )

    def _open(self, arrays: tuple, *args: Any, **settings: Any) -> Any:
        dtype = getattr(self, "_dtype", None)
        rows = super()._open(arrays, *args, **settings)
        if self._coder is not None:
            self._dtype = dtype  # of rows of codes, which may be finer than that of the networks
        return rows

    @property
    def _network_dtype(self) -> Any:
        if self._coder is not None:
            return np.dtype(np.float32)
        return self._dtype

    def _chosen_likelihood(self, statistics: RowStatistics) -> Option:
        if self._columns is None:
            return super()._chosen_likelihood(statistics)
        option = self._option("likelihood")
        if isinstance(option, AutoLikelihood):
            option = Mixed(option.n_mixture)
        option.check()
        return option

    def _choices_for(self, X: np.ndarray) -> dict[str, Any]:
        if self._likelihood_name not in ("auto", "mixed"):
            return super()._choices_for(X)
        columns = self._columns_of(X)
        if columns is None:
            return super()._choices_for(X)
        return {"kinds": Table.of_codes(columns)}

    def _make_observation(self, statistics: RowStatistics, **settings: Any) -> Any:
        if self._coder is None:
            return super()._make_observation(statistics, **settings)
        option: Any = self._chosen_likelihood(statistics)
        return MixedObservation(self._coder, option.n_mixture)

    def _check_support(self, X: np.ndarray) -> None:
        if self._coder is None:
            super()._check_support(X)
        elif self._table is None:
            check_codes(self._coder.columns, X)

    def _encoded(self, X: np.ndarray) -> np.ndarray:
        """What the networks take for validated rows (n, d): features of mixed columns."""
        if self._coder is None:
            return X
        return self._coder.encode(X)

    def _decoded(self, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Rows (n, d) of what the networks draw; the generator draws what they do not."""
        if self._coder is None:
            return rows
        return self._coder.decode(rows, generator)

    def _is_missing(self, X: np.ndarray) -> np.ndarray:
        """Mask (n, d) of missing values, among which are no gaps that are outcomes."""
        is_missing = np.isnan(X)
        if self._coder is not None:
            is_missing &= ~np.array([column.has_gaps for column in self._coder.columns])
        return is_missing

    def _log_fixed(self, X: np.ndarray) -> Any:
        """Log-probabilities (n,) of rests with a fixed distribution, in rows of codes."""
        if self._coder is None:
            return 0.0
        return log_fixed(self._coder.columns, X)

    def _codes_of_means(self, means: np.ndarray) -> np.ndarray:
        """Rows (n, d) of means of the networks' rows, or moments of mixed columns."""
        if self._coder is None:
            return means
        return self.observation_.codes_of_moments(means, with_gaps=True)

    def _conditions_of(self, conditions: Conditions, argument: str, gaps: str) -> Any:
        """Conditions as the networks' features have them."""
        if self._coder is None:
            return conditions
        return MixedConditions(conditions, self.observation_, self._dtype, argument, gaps)


def _category(j: int, codes: np.ndarray) -> Column:
    """Column j of an array as one of categories, which its codes count from 0."""
    codes = codes[~np.isnan(codes)]
    if np.any(codes != np.rint(codes)) or codes.min(initial=0.0) < 0.0:
        wrong = codes[(codes != np.rint(codes)) | (codes < 0.0)][0]
        raise ValueError(
            f"X must hold whole numbers from 0 in column {j}, which categorical_features names;"
            f" got {wrong:g}; encode it, such as with OrdinalEncoder."
        )
    n_levels = int(codes.max(initial=1.0)) + 1
    if n_levels > MOST_LEVELS:
        raise ValueError(
            f"X must hold at most {MOST_LEVELS:,} categories in column {j}; got {n_levels:,}; count"
            " them from 0, such as with OrdinalEncoder."
        )
    return Column(j, "category", levels=tuple(range(n_levels)))
