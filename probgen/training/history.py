"""History of a fit: one record for each epoch."""

from collections.abc import Iterable, Iterator
from typing import Any

LEADING = ("epoch",)
MEASURES = (  # of adversarial networks, of a LatentDoctor and of an AdversarialDoctor
    *("real_score", "fake_score", "discriminator_skips", "generator_skips"),
    *("active_units", "elbo_reconstruction", "elbo_kl", "kl_per_dimension"),
    *("discriminator_auc", "diversity", "clusters_hit", "generator_gradient"),
)
TRAILING = ("validation_score", "learning_rate", "seconds")


class History:
    """Records of the epochs of a fit, by epoch and by column.

    `history[k]` is the record of the k-th epoch as a dict, `history["loss"]` a column as a list
    with a number for each epoch, NaN if the epoch did not report it. Iteration and `len` run over
    the epochs.

    Parameters
    ----------
    records : iterable of dict, default=()
        Records to begin with, in the order of the epochs.

    Attributes
    ----------
    records : list of dict
        One for each epoch: `epoch` (from 1), the mean loss per row of each phase by its name,
        `validation_score` where rows were held out (higher is better), `learning_rate` and
        `seconds`; and what callbacks add, such as the measures of a doctor, of which
        `kl_per_dimension` is a list.

    Examples
    --------
    >>> from probgen.training import History
    >>> history = History()
    >>> history.append({"epoch": 1, "loss": 2.5})
    >>> history.append({"epoch": 2, "loss": 2.0, "validation_score": -2.25})
    >>> history["loss"], history["validation_score"]
    ([2.5, 2.0], [nan, -2.25])
    >>> history[-1]["loss"]
    2.0
    >>> history
    History(2 epochs, the last: epoch=2, loss=2, validation_score=-2.25)
    """

    def __init__(self, records: Iterable[dict] = ()) -> None:
        self.records = [dict(record) for record in records]

    def append(self, record: dict) -> None:
        """Add the record of an epoch.

        Parameters
        ----------
        record : dict
            Numbers by column.
        """
        self.records.append(dict(record))

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in the order in which `to_frame` has them."""
        others = [name for name in (*MEASURES, *TRAILING) if name in self._names]
        return [*[name for name in LEADING if name in self._names], *self.loss_names, *others]

    @property
    def loss_names(self) -> list[str]:
        """Names of the losses, in the order in which they were first reported."""
        return [name for name in self._names if name not in (*LEADING, *MEASURES, *TRAILING)]

    @property
    def _names(self) -> list[str]:
        return list(dict.fromkeys(name for record in self.records for name in record))

    def to_frame(self) -> Any:
        """Return the history as a pandas DataFrame, a row for each epoch.

        Returns
        -------
        frame : DataFrame of shape (n_epochs, n_columns)

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "History.to_frame needs pandas; install it with `pip install pandas`."
            ) from error
        return pd.DataFrame({name: self[name] for name in self.columns})

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, str):
            return self.records[key]
        if key not in self._names:
            known = "it has no epochs yet"
            if self.records:
                known = f"its columns are {', '.join(self.columns)}"
            raise KeyError(f"history has no column {key!r}; {known}.")
        return [record.get(key, float("nan")) for record in self.records]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[dict]:
        return iter(self.records)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return len(self) == len(other) and all(map(_same_record, self.records, other.records))

    def __repr__(self) -> str:
        if not self.records:
            return "History(no epochs)"
        last = ", ".join(
            f"{name}={_short(self.records[-1][name])}"
            for name in self.columns
            if name in self.records[-1]
        )
        count = "1 epoch"
        if len(self) > 1:
            count = f"{len(self)} epochs"
        return f"History({count}, the last: {last})"


def _same_record(first: dict, second: dict) -> bool:
    """Whether two records have the same numbers; NaN equals NaN."""
    return first.keys() == second.keys() and all(
        _same(value, second[name]) for name, value in first.items()
    )


def _same(first: Any, second: Any) -> bool:
    return first == second or (first != first and second != second)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    return str(value)
