"""The commands of `probgen`, on click and rich. Each imports the slow modules that it needs."""

import contextlib
import os
import re
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from probgen import __version__, persistence
from probgen._validation import check_count
from probgen._writing import atomic_write, check_output
from probgen.cli import models, tables, typed
from probgen.cli.conditions import parse_conditions
from probgen.cli.rows import (
    Description,
    parse_kinds,
    parse_names,
    read_for_fit,
    read_for_score,
)

FAILURES = (ValueError, TypeError, OSError, ImportError, ArithmeticError, RuntimeError, MemoryError)
BAD_INPUT = 2
INTERRUPTED = 130
TABLE_WIDTH = 120  # columns where the output is no terminal


@contextlib.contextmanager
def _exit_at_ctrl_c(keep=None):
    """Exit with 130 at Ctrl-C in the block, after a call of keep.

    It exits where it is, without an exception. Python ignores an exception in some callbacks, C++
    code may abort the process at one, and a network would first complete its model.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum, frame):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            if keep is not None:
                keep()
            sys.stdout.flush()
        except FAILURES as error:
            _fail(str(error))
        finally:
            _tell_interrupt()
            os._exit(INTERRUPTED)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Program(click.Group):
    """Group of commands that exit with 2 and one line on bad input, and with 130 on Ctrl-C."""

    def main(self, *args, **extra):
        """Run a command and exit."""
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            sys.exit(self._exit_code(*args, **extra))

    def _exit_code(self, *args, **extra):
        try:
            return super().main(*args, **(extra | {"standalone_mode": False})) or 0
        except click.UsageError as error:
            path = self.name
            if error.ctx is not None:
                path = error.ctx.command_path
            return _fail(f"{error.format_message().rstrip('.')}. See `{path} --help`.")
        except click.ClickException as error:
            return _fail(error.format_message())
        except (click.Abort, KeyboardInterrupt):
            return _tell_interrupt()
        except BrokenPipeError:
            # Python flushes stdout at exit, which would fail again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except FAILURES as error:
            return _fail(str(error) or type(error).__name__)


class ImageShape(click.ParamType):
    """An image shape such as 28x28 or 32x32x3."""

    name = "HxW[xC]"

    def convert(self, value, param, ctx):
        """Return a tuple of int."""
        if isinstance(value, tuple):
            return value
        if not re.fullmatch(r"\d+x\d+(x\d+)?", value):
            self.fail(f"expected a shape such as 28x28 or 32x32x3; got {value!r}.", param, ctx)
        return tuple(int(side) for side in value.split("x"))


FILE = click.Path(path_type=Path)
key_option = click.option("--key", metavar="NAME", help="Array of a .npz file with the rows.")
seed_option = click.option(
    "--random-state", type=int, metavar="SEED", help="Seed, for reproducible results."
)


columns_option = click.option(
    "--columns",
    multiple=True,
    metavar="NAME=KIND,...",
    help="What columns hold, where it should not be inferred; repeatable.",
)
drop_option = click.option(
    "--drop", multiple=True, metavar="NAME,...", help="Columns to leave out; repeatable."
)
index_option = click.option(
    "--index", metavar="NAME", help="Column that names the rows, which is not learned."
)
missing_option = click.option(
    "--missing",
    multiple=True,
    metavar="TEXT",
    help="A text that means a gap, beside empty cells, ?, NA and the like; repeatable.",
)


@click.group(
    "probgen",
    cls=Program,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="probgen")
@click.pass_context
def program(context):
    """Generative models for your data.

    Start with `probgen compare`: it fits every generator to images of digits and writes a report
    with samples. The other commands work on your own .npy, .npz, .csv and .parquet files.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@program.command()
@click.option(
    "--data",
    default="digits",
    show_default=True,
    metavar="NAME|FILE",
    help="Data set or file, as listed above.",
)
@click.option(
    "--output",
    "-o",
    type=FILE,
    default="probgen-report.html",
    show_default=True,
    help="The report.",
)
@click.option("--max-rows", type=int, metavar="N", help="Use N rows, drawn at random.")
@columns_option
@drop_option
@index_option
@missing_option
@key_option
@click.option("--target", metavar="COLUMN", help="Column of a file with the classes.")
@click.option(
    "--image-shape",
    type=ImageShape(),
    metavar="HxW[xC]",
    help="Shape of the images in a file, with values from 0 to 255.",
)
@click.option(
    "--random-state",
    type=int,
    default=0,
    show_default=True,
    metavar="SEED",
    help="Seed of the split and the models.",
)
def compare(
    data, output, max_rows, columns, drop, index, missing, key, target, image_shape, random_state
):
    """Fit every generator to a data set and compare them.

    A quarter of the rows is held out. Each generator is scored on it, in nats per row and, for
    integers such as pixels, in bits per dimension. Tables may hold text, dates and gaps too. The
    report is one HTML file with the scores and samples of each generator, and its code.

    \b
    --data takes
      a file        .npy, .npz, .csv, .tsv, .csv.gz, .tsv.gz or .parquet
      digits        small images that come with scikit-learn (no download)
      mnist, fashion_mnist, cifar10, olivetti_faces, frey_faces, lfw_people
      adult, uci:NAME, adbench:NAME, binary:NAME
                    tables, such as uci:wine_quality
    """
    check_output(output, (".html",))
    check_count("random_state", random_state, low=0)
    with _exit_at_ctrl_c():
        from probgen.cli.compared import load_data
        from probgen.cli.comparison import generators
        from probgen.cli.report import Report

        loaded = load_data(
            data,
            key=key,
            target=target,
            image_shape=image_shape,
            max_rows=max_rows,
            random_state=random_state,
            description=Description(parse_kinds(columns), parse_names(drop), index, missing),
        )
        contenders = generators(loaded, random_state)
        report = Report(loaded, random_state=random_state)
    _evaluate_all(contenders, loaded, report, random_state, output)
    results = report.results
    if all(result.model is None for result in results):
        raise ValueError(
            f"no generator could be fitted to {data!r}. {results[0].name}: {results[0].notes[0]}"
        )
    _publish(report, loaded, output)


def _evaluate_all(contenders, data, report, random_state, output):
    """Add the results of all models to a report, and show how far it is."""
    from probgen.cli.comparison import evaluate, summary

    def keep():
        progress.stop()
        if any(result.model is not None for result in report.results):
            _publish(report, data, output, n_missing=len(contenders) - len(report.results))

    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*bar, console=Console(stderr=True)) as progress, _exit_at_ctrl_c(keep):
        task = progress.add_task("", total=len(contenders))
        for name, model in contenders.items():
            progress.update(task, description=name)
            result = evaluate(name, model, data, random_state)
            report.add(result)
            progress.console.print(summary(result), highlight=False, markup=False)
            progress.advance(task)
        progress.update(task, description="Done")


def _publish(report, data, output, n_missing=0):
    """Write a report, and print its table."""
    from probgen.cli.comparison import sort_by_likelihood

    page = report.render(n_missing)
    with atomic_write(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    results = sort_by_likelihood(report.results)
    _print_results(data, results)
    click.echo("\nThe first of them, fitted to the rows to learn from, gives this number:")
    click.echo(results[0].parameters)
    click.echo(f"Report: {output}")


@program.command()
@click.argument("data", type=FILE)
@click.option(
    "--model", type=click.Choice(sorted(models.MODELS)), required=True, help="The generator to fit."
)
@click.option(
    "--param",
    "-p",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="Parameter of the generator; repeatable.",
)
@click.option(
    "--output",
    "-o",
    type=FILE,
    default="model.probgen",
    show_default=True,
    help="The fitted model.",
)
@columns_option
@drop_option
@index_option
@missing_option
@click.option("--target", metavar="COLUMN", help="Column with the classes, by name or index.")
@key_option
@seed_option
def fit(data, model, params, output, columns, drop, index, missing, target, key, random_state):
    """Fit a generator to the rows of DATA and save it.

    Columns may hold numbers, text, dates as 2020-12-31, and gaps; a line for each says what it was
    taken for. The first line of a .csv may hold names. Cells may be separated by commas,
    semicolons, tabs or vertical bars. Classes that are not all numbers are text.

    \b
    probgen fit flowers.csv --model gaussian-mixture -p n_components=3
    probgen fit people.csv --model made --index id --columns zip=category,children=integer
    probgen fit digits.npz --model gaussian-bayes --target y -p reg_param=0.1

    KIND is one of real, integer, category, ordered, boolean, datetime, duration and constant.
    """
    from sklearn.base import is_classifier

    check_output(output, (tables.MODEL_FORMAT,))
    with _exit_at_ctrl_c():
        generator = models.build(model, params, random_state)
        if is_classifier(generator) and target is None:
            raise ValueError(f"{model} learns classes; name their column with --target.")
        description = Description(parse_kinds(columns), parse_names(drop), index, missing)
        X, y, names, generator = read_for_fit(
            data, generator, params, random_state, description, key=key, target=target
        )
        if is_classifier(generator):
            tables.check_labels(data, y)
        start = time.perf_counter()
        generator.fit(X, y)
        seconds = time.perf_counter() - start
    if names is not None:
        # As a fit to a frame sets it, which would need pandas.
        generator.feature_names_in_ = _object_array(names)
    persistence.save(generator, output)
    rows, width = X.shape
    click.echo(
        f"Fitted {models.as_code(generator)} to {rows:,} rows of {width:,} columns in"
        f" {seconds:.2f} s. Saved: {output}"
    )


def _object_array(names):
    import numpy as np

    return np.array(names, dtype=object)


@program.command()
@click.argument("model", type=FILE)
@click.option("-n", "--n-samples", type=int, default=100, show_default=True, help="Rows to draw.")
@click.option("--class", "label", metavar="LABEL", help="Draw rows of this class.")
@click.option(
    "--given", multiple=True, metavar="COLUMN=VALUE", help="Condition on a column; repeatable."
)
@click.option("--labels", is_flag=True, help="Add the classes of the rows as a last column y.")
@click.option(
    "--output", "-o", type=FILE, help="File to write. By default rows are printed as CSV."
)
@seed_option
def sample(model, n_samples, label, given, labels, output, random_state):
    """Draw rows from a saved MODEL.

    \b
    --given age=30             rows with this value
    --given income=10:20       rows in this interval; leave an end out to open it
    --given "town=Oslo|Rome"   rows with one of these values
    --given occupation=        rows with a gap
    Columns are names, or indices that start at 0. Rows of a table have the columns and types of the
    rows that the model was fitted to.
    """
    if output is not None:
        tables.check_table_output(output)
    generator = tables.load_model(model)
    table = models.table_of_model(generator)
    names = getattr(generator, "feature_names_in_", None)
    y = None
    if label is not None:
        y = _class_of(generator, label)
    settings = {
        "y": y,
        "given": parse_conditions(given, names, table) or None,
        "random_state": random_state,
    }
    y = None
    if labels:
        X, y = generator.sample(n_samples, return_y=True, **settings)
    else:
        X = generator.sample(n_samples, **settings)
    if table is not None:
        typed.write_frame(output, X, y)
    else:
        tables.write_table(output, X, y, names=names)


@program.command()
@click.argument("model", type=FILE)
@click.argument("data", type=FILE)
@click.option("--per-row", is_flag=True, help="Print the score of each row, not their mean.")
@click.option("--output", "-o", type=FILE, help="File to write the score of each row to.")
@index_option
@missing_option
@click.option("--target", metavar="COLUMN", help="Column of DATA to leave out.")
@key_option
def score(model, data, per_row, output, index, missing, target, key):
    """Print the log-likelihood of DATA under a saved MODEL, in nats per row; higher is better.

    Columns with names are matched by name. Columns that the model was not fitted to are left out.
    With --index the scores of rows stand beside their names.
    """
    import numpy as np

    if output is not None:
        tables.check_table_output(output)
    generator = tables.load_model(model)
    X, rows = read_for_score(generator, data, key=key, target=target, index=index, missing=missing)
    # The columns are matched; without pandas the rows cannot carry their names.
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    scores = np.asarray(generator.score_samples(X), dtype=np.float64)
    if output is not None and rows is not None:
        import pandas as pd

        columns = {index: rows, "log_likelihood": scores}
        typed.write_frame(output, pd.DataFrame(columns))
    elif output is not None:
        tables.write_table(output, scores[:, None], names=["log_likelihood"])
    if per_row and rows is not None:
        click.echo("\n".join(f"{row},{value}" for row, value in zip(rows, scores)))
        return
    if per_row:
        click.echo("\n".join(map(str, scores)))
        return
    error = ""
    if len(scores) > 1:
        error = f" ± {scores.std(ddof=1) / np.sqrt(len(scores)):.6g}"
    click.echo(
        f"{scores.mean():.6g}{error} nats per row ({_describe_likelihood(generator)}; mean and"
        f" standard error of {len(scores):,} rows)"
    )


def _describe_likelihood(generator):
    """What `score_samples` of a generator returns, in words."""
    from probgen.base import get_likelihood

    likelihood = get_likelihood(generator)
    measure = {
        "lebesgue": "log-density",
        "counting": "log-probability",
        "mixed": "log of density and probability",
    }[likelihood.measure]
    return {
        "exact": measure,
        "lower_bound": f"lower bound of the {measure}",
        "estimate": f"estimate of the {measure}",
    }[likelihood.kind]


def _class_of(generator, text):
    """The class with the name text. Without classes it is the text, which `sample` refuses."""
    classes = getattr(generator, "classes_", None)
    if classes is None:
        return text
    labels = {str(label): label for label in classes}
    if text not in labels:
        raise ValueError(f"--class must be one of {', '.join(labels)}; got {text!r}.")
    return labels[text]


def _print_results(data, results):
    from probgen.cli.comparison import table_columns

    click.echo(f"{data.name}: {len(data.X_test):,} rows held out, best model first")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    columns = table_columns(results)
    for heading in columns:
        if heading == "model":
            table.add_column(heading, min_width=13)
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    width = None
    if not sys.stdout.isatty():
        width = TABLE_WIDTH
    Console(width=width).print(table)
    for result in results:
        for note in result.notes:
            click.echo(f"probgen: {result.name}: {note}", err=True)


def _show_warning(message, category, filename, lineno, file=None, line=None):
    click.echo(f"probgen: warning: {' '.join(str(message).split())}", err=True)


def _tell_interrupt():
    click.echo("probgen: interrupted", err=True)
    return INTERRUPTED


def _fail(message):
    click.echo(f"probgen: error: {' '.join(message.split())}", err=True)
    return BAD_INPUT
