"""Callback that shows a progress bar over the epochs of a fit."""

import multiprocessing
import sys
import time
from typing import Any

from probgen.training.callbacks._base import Callback, is_epoch, last_record


class ProgressBar(Callback):
    """Progress bar over the epochs of a fit, with the last losses and the validation score.

    A notebook with ipywidgets shows a widget, a terminal a line on its standard error. In worker
    processes, whose lines would overwrite each other, a fit writes one line at its end.

    Examples
    --------
    >>> from probgen.training import ProgressBar
    >>> ProgressBar()
    ProgressBar()
    """

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Show a bar when the first epoch begins."""
        if is_epoch(context) and self._kept(context) is None:
            if multiprocessing.current_process().name == "MainProcess":
                bar_class = progress_bar_class()
            else:
                bar_class = _Line
            bar = bar_class(
                desc=context.estimator_name,
                total=context.parent.max_subtasks,
                initial=context.task_id,
                unit="epoch",
            )
            self._keep(context.parent, bar)

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Advance the bar."""
        bar = self._kept(context)
        if bar is not None and is_epoch(context):
            record = last_record(estimator)
            hidden = {"epoch", "learning_rate", "seconds", "kl_per_dimension"}
            shown = {name: value for name, value in record.items() if name not in hidden}
            bar.set_postfix(shown, refresh=False)
            bar.update()

    def teardown(self, estimator: Any, context: Any) -> None:
        """Close the bar."""
        bar = self._drop(context)
        if bar is not None:
            bar.close()


class _Line:
    """The part of tqdm's interface used here, as one line at the end."""

    def __init__(self, *, desc: str, total: int | None, initial: int, unit: str) -> None:
        self.text = desc
        self.total = total
        self.n = initial
        self.unit = unit
        self.start = time.perf_counter()
        self.postfix = ""

    def set_postfix(self, numbers: dict, refresh: bool) -> None:
        self.postfix = "".join(f", {name}={value:.3g}" for name, value in numbers.items())

    def update(self) -> None:
        self.n += 1

    def close(self) -> None:
        count = str(self.n)
        if self.total is not None:
            count += f"/{self.total}"
        seconds = time.perf_counter() - self.start
        sys.stderr.write(f"{self.text}: {count} {self.unit}s in {seconds:.1f} s{self.postfix}\n")
        sys.stderr.flush()


def progress_bar_class() -> Any:
    """tqdm's class for a notebook or a terminal; tqdm.auto may warn, or change warning filters."""
    shell = None
    if "IPython" in sys.modules:
        shell = sys.modules["IPython"].get_ipython()
    if shell is not None and "IPKernelApp" in shell.config:
        from tqdm import notebook

        if getattr(notebook, "IProgress", None) is not None:  # ipywidgets
            return notebook.tqdm
    from tqdm import tqdm

    return tqdm
