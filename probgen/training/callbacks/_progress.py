"""A progress bar over the epochs of a fit."""

import multiprocessing
import sys
import time

from probgen.training.callbacks._base import Callback, is_epoch, last_record


class ProgressBar(Callback):
    """Bar over the epochs of a fit, with the last losses and the validation score beside it.

    A notebook shows a widget if it has ipywidgets, a terminal a line on its standard error. In
    worker processes, whose lines would overwrite one another, a fit writes a single line when it
    has ended.

    Examples
    --------
    >>> from probgen.training import ProgressBar
    >>> ProgressBar()
    ProgressBar()
    """

    def on_fit_task_begin(self, estimator, context):
        """Show a bar when the first epoch begins."""
        if is_epoch(context) and self._kept(context) is None:
            kind = (
                _Line if multiprocessing.current_process().name != "MainProcess" else _bar_class()
            )
            total = context.parent.max_subtasks
            bar = kind(
                desc=context.estimator_name, total=total, initial=context.task_id, unit="epoch"
            )
            self._keep(context.parent, bar)

    def on_fit_task_end(self, estimator, context):
        """Move the bar on."""
        bar = self._kept(context)
        if bar is not None and is_epoch(context):
            record = last_record(estimator)
            hidden = {"epoch", "learning_rate", "seconds", "kl_per_dimension"}
            shown = {name: value for name, value in record.items() if name not in hidden}
            bar.set_postfix(shown, refresh=False)
            bar.update()

    def teardown(self, estimator, context):
        """Leave the bar as it is, and go to a new line."""
        bar = self._drop(context)
        if bar is not None:
            bar.close()


class _Line:
    """What is used of tqdm, as one line at the end."""

    def __init__(self, *, desc, total, initial, unit):
        self.text, self.total, self.n, self.unit = desc, total, initial, unit
        self.start, self.postfix = time.perf_counter(), ""

    def set_postfix(self, numbers, refresh):
        self.postfix = "".join(f", {name}={value:.3g}" for name, value in numbers.items())

    def update(self):
        self.n += 1

    def close(self):
        count = self.n if self.total is None else f"{self.n}/{self.total}"
        seconds = time.perf_counter() - self.start
        sys.stderr.write(f"{self.text}: {count} {self.unit}s in {seconds:.1f} s{self.postfix}\n")
        sys.stderr.flush()


def _bar_class():
    """tqdm's class for the place where this runs; tqdm.auto would warn, or change the filters of
    warnings."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and "IPKernelApp" in shell.config:
        from tqdm import notebook

        if getattr(notebook, "IProgress", None) is not None:  # ipywidgets
            return notebook.tqdm
    from tqdm import tqdm

    return tqdm
