"""What a fit reports of its epochs."""

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
    with a number for each epoch; columns that an epoch did not report are NaN there. Iteration and
    `len` go over the epochs.

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

    def __init__(self, records=()):
        self.records = [dict(record) for record in records]

    def append(self, record):
        """Add the record of an epoch.

        Parameters
        ----------
        record : dict
            Numbers by column.
        """
        self.records.append(dict(record))

    @property
    def columns(self):
        """Names of the columns, as a list: epoch, the losses, measures, validation_score,
        learning_rate, seconds."""
        others = [name for name in (*MEASURES, *TRAILING) if name in self._names]
        return [*[name for name in LEADING if name in self._names], *self.loss_names, *others]

    @property
    def loss_names(self):
        """Names of the losses, as a list in the order in which they were first reported."""
        return [name for name in self._names if name not in (*LEADING, *MEASURES, *TRAILING)]

    @property
    def _names(self):
        return list(dict.fromkeys(name for record in self.records for name in record))

    def to_frame(self):
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

    def __getitem__(self, key):
        if not isinstance(key, str):
            return self.records[key]
        if key not in self._names:
            known = (
                f"its columns are {', '.join(self.columns)}"
                if self.records
                else "it has no epochs yet"
            )
            raise KeyError(f"history has no column {key!r}; {known}.")
        return [record.get(key, float("nan")) for record in self.records]

    def __len__(self):
        return len(self.records)

    def __iter__(self):
        return iter(self.records)

    def __eq__(self, other):
        if not isinstance(other, History):
            return NotImplemented
        return len(self) == len(other) and all(map(_same_record, self.records, other.records))

    def __repr__(self):
        if not self.records:
            return "History(no epochs)"
        last = ", ".join(
            f"{name}={_short(self.records[-1][name])}"
            for name in self.columns
            if name in self.records[-1]
        )
        return f"History({len(self)} epoch{'s' if len(self) > 1 else ''}, the last: {last})"


def _same_record(mine, its):
    """Whether two records hold the same numbers, NaN being like NaN."""
    return mine.keys() == its.keys() and all(
        _same(value, its[name]) for name, value in mine.items()
    )


def _same(mine, its):
    return mine == its or (mine != mine and its != its)


def _short(value):
    return f"{value:.5g}" if isinstance(value, float) else str(value)
