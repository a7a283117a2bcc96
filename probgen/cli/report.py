"""Render a comparison as one self-contained HTML page."""

import base64
import html
import io
import platform
import warnings
from importlib.metadata import PackageNotFoundError, version
from string import Template

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import get_tags

try:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError(
        "the report needs matplotlib; install it with `pip install 'probgen[plot]'`."
    ) from error

from probgen.cli.compared import TEST_SIZE, Data
from probgen.cli.comparison import (
    N_DRAWS,
    Result,
    generator_of,
    sort_by_likelihood,
    table_columns,
)
from probgen.cli.tables import has_pandas
from probgen.cli.typed import describe
from probgen.plots import (
    LatentDisplay,
    ManifoldDisplay,
    ReconstructionDisplay,
    SampleGridDisplay,
    TableDisplay,
)

PACKAGES = ("probgen", "numpy", "scipy", "scikit-learn", "torch", "matplotlib")
N_COLS = 12
N_PANELS = 4  # side by side, of a table
MAX_LABELS = 10
N_MEAN_ROWS = 3
N_COMPLETIONS = 3
MAX_CODES = 1000
MAX_DESCRIBED = 40  # columns
MAX_SHOWN = 5000  # rows in the pictures of a table
INK = "#808080"  # readable on white and on black
FONT_SIZE = 13

MEANINGS = {
    "nats per row": (
        "Mean log-likelihood of the held-out rows, in natural units, and its standard error. Higher"
        " is better: one nat more means that rows are 2.7 times as probable."
    ),
    "bits/dim": (
        "Negative log-likelihood per column (pixel and channel) in bits, which is the length of a"
        " code. Lower is better. It scores the integers themselves, so continuous and discrete"
        " models compare."
    ),
    "likelihood": (
        "Whether the likelihood is exact, a lower bound (the true value is at least as high) or an"
        " estimate."
    ),
    "accuracy": (
        "Share of held-out rows that Bayes' rule classifies correctly, for class-conditional"
        " generators."
    ),
    "fit": "Seconds to fit the generator to the training rows.",
    "draw": f"Seconds to draw {N_DRAWS:,} rows.",
}
LOG_PROBABILITY = " It is the log-probability of the integers."
LOG_OF_BOTH = (
    " It is the logarithm of the probability of all that is discrete, times the density of the real"
    " numbers in their own units."
)
LOG_DENSITY = (
    " It is a log-density in the units of the data, so it changes with them and may be positive."
)


class Report:
    """The page of a comparison.

    The pictures of a generator are drawn when its result is added, so that at any time the page of
    what there is takes no more than its writing.

    Parameters
    ----------
    data : Data
    random_state : int
        The seed of the comparison; it seeds the draws in the pictures too.

    Attributes
    ----------
    results : list of Result
    """

    def __init__(self, data: Data, *, random_state: int):
        self.results: list[Result] = []
        self._data = data
        self._random_state = random_state
        alt = f"Held-out rows of {data.name}."
        is_table = data.image_shape is None
        self._real = _figure(_real_picture(data), _real_caption(data), alt, wide=is_table)
        self._cards: dict[str, str] = {}

    def add(self, result: Result) -> None:
        """Add a result and its pictures."""
        self._cards[result.name] = _card(result, self._data, self._random_state)
        self.results.append(result)

    def render(self, n_missing: int = 0) -> str:
        """Return the page, HTML with its style and pictures inside.

        Parameters
        ----------
        n_missing : int, default=0
            Generators that an interrupt has left out, which the page tells.
        """
        results = sort_by_likelihood(self.results)
        lead = (
            f"{len(results)} generators learn from the same rows, are scored on held-out rows, and"
            " draw new ones."
        )
        if n_missing:
            lead += f" The comparison was interrupted: {n_missing} more generators are missing."
        return PAGE.substitute(
            title=f"Generators of {html.escape(self._data.name)}",
            lead=lead,
            facts=_definitions(_facts(self._data, self._random_state)),
            real=self._real,
            table=_table(results),
            meanings=_definitions(_meanings(self._data, results)),
            kind=" tables" * (self._data.image_shape is None),
            cards="".join(self._cards[result.name] for result in results),
        )


def _facts(data, random_state):
    """Facts about the data and the run, by name; each may have several lines."""
    rows = f"{len(data.X_train):,} to learn from, {len(data.X_test):,} held out ({TEST_SIZE:.0%}"
    n_classes = "none"
    if data.classes:
        rows += ", stratified by class"
        n_classes = str(len(data.classes))
    return {
        "Data": data.name,
        "Rows": f"{rows})",
        "Columns": f"{data.n_features:,}{_value_fact(data)}",
        "Classes": n_classes,
        "Split": data.split,
        "Seed": str(random_state),
        "Versions": ", ".join(f"{name} {number}" for name, number in _versions().items()),
    }


def _value_fact(data):
    """What the values are, to follow the number of columns."""
    if data.image_shape is not None:
        shape = "x".join(map(str, data.image_shape))
        return f": images of {shape} with {data.levels} levels"
    if data.table is not None:
        return "\n" + "\n".join(describe(data.table)[:MAX_DESCRIBED])
    if data.levels is None:
        return " of real numbers"
    return f" of integers from 0 to {np.max(data.levels) - 1}"


def _versions():
    """Versions of Python and of the packages that compute the numbers."""
    versions = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _meanings(data, results):
    """Explanations of the columns of the table, by heading."""
    unit = LOG_PROBABILITY
    if data.table is not None:
        unit = LOG_OF_BOTH
    elif data.levels is None:
        unit = LOG_DENSITY
    meanings = MEANINGS | {"nats per row": MEANINGS["nats per row"] + unit}
    headings = table_columns(results)
    return {heading: meanings[heading] for heading in meanings if heading in headings}


def _definitions(texts):
    """Entries of a definition list, whose texts may have several lines."""
    entries = []
    for name, text in texts.items():
        lines = html.escape(text).replace("\n", "<br>")
        entries.append(f"<dt>{name}</dt><dd>{lines}</dd>")
    return "".join(entries)


def _table(results):
    columns = table_columns(results)
    head = "".join(f'<th scope="col">{html.escape(heading)}</th>' for heading in columns)
    rows = []
    for row, interval in zip(zip(*columns.values()), _intervals(results), strict=True):
        name, *others = [html.escape(cell) for cell in row]
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        rows.append(
            f'<tr><th scope="row">{name}</th>{cells}<td class="interval">{interval}</td></tr>'
        )
    return (
        f'<thead><tr>{head}<td class="interval">worse → better</td></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody>"
    )


def _intervals(results):
    """SVG of each likelihood with two standard errors to each side, on a common scale."""
    scored = [result for result in results if np.isfinite(result.nats)]
    if not scored:
        return [""] * len(results)
    low = min(result.nats - 2 * result.error for result in scored)
    high = max(result.nats + 2 * result.error for result in scored)

    def place(value):
        return f"{3 + 134 * (value - low) / max(high - low, 1e-300):.1f}"

    drawings = []
    for result in results:
        if not np.isfinite(result.nats):
            drawings.append("")
            continue
        drawings.append(
            '<svg viewBox="0 0 140 14" width="140" height="14" aria-hidden="true">'
            f'<line x1="{place(result.nats - 2 * result.error)}"'
            f' x2="{place(result.nats + 2 * result.error)}" y1="7" y2="7"/>'
            f'<circle cx="{place(result.nats)}" cy="7" r="3.5"/></svg>'
        )
    return drawings


def _card(result, data, random_state):
    """Parameters, notes and pictures of one generator."""
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in result.notes)
    pictures = ""
    if result.model is not None:
        pictures = _pictures(result, data, random_state)
    return (
        f"<article><h3>{html.escape(result.name)}</h3>"
        f"<pre><code>{html.escape(result.parameters)}</code></pre>{notes}{pictures}</article>"
    )


def _pictures(result, data, random_state):
    """The figures that a fitted model can fill."""
    name = result.name
    model = result.model
    generator = generator_of(model)
    is_image = data.image_shape is not None
    decodes = hasattr(generator, "reconstruct")

    if not is_image:
        picture = _table_picture(data, model, random_state)
        alt = f"Columns drawn from {name} before those of held-out rows."
        figures = [_figure(picture, "", alt, wide=True)]
        if decodes and data.classes:
            figures.append(_code_figure(model, data, name))
        return "".join(figures)
    alt = f"Rows drawn from {name}."
    if is_classifier(model) and data.classes:
        alt = f"Rows drawn from {name}; each row of the picture is a class."
    figures = [_figure(_sample_picture(model, data, random_state), "", alt)]
    if hasattr(generator, "sample_mean") and not is_classifier(model):
        picture = _mean_picture(model, data, random_state)
        caption = "Decoded means, without the noise of the observation model."
        figures.append(_figure(picture, caption, f"Decoded means of {name}."))
    if decodes:
        caption = "Held-out rows, and their reconstructions below."
        alt = f"Held-out rows and their reconstructions by {name}."
        figures.append(_figure(_reconstruction_picture(model, data), caption, alt))
    if get_tags(generator).conditions:
        picture = _completion_picture(model, data, random_state)
        caption = (
            "Held-out images, their visible upper halves, and three draws of the lower halves."
        )
        figures.append(_figure(picture, caption, f"Lower halves drawn by {name}."))
    if decodes and data.classes:
        figures.append(_code_figure(model, data, name))
    if decodes and data.classes and generator.n_components == 2:
        picture = _manifold_picture(model, data)
        caption = "Images decoded from a grid of codes."
        figures.append(_figure(picture, caption, f"Images over the codes of {name}."))
    return "".join(figures)


def _code_figure(model, data, name):
    """Figure of codes of held-out rows."""
    picture = _code_picture(model, data)
    return _figure(picture, "Codes of held-out rows.", f"Codes of {name} by class.")


def _real_picture(data):
    """PNG of held-out rows, with one row of the grid for each class if there are classes."""
    if data.image_shape is None:
        return _table_picture(data)
    labels = [label for label in data.classes if label in data.y_test][:MAX_LABELS]
    if labels:
        # A class with few rows leaves cells empty, which NaN marks.
        grid = np.full((len(labels), N_COLS, data.n_features), np.nan)
        for k, label in enumerate(labels):
            rows = data.X_test[data.y_test == label][:N_COLS]
            grid[k, : len(rows)] = rows
        X = grid.reshape(-1, data.n_features)
    else:
        X = data.X_test[: N_COLS * MAX_LABELS]
    display = SampleGridDisplay(X, n_cols=N_COLS, row_labels=labels or None, **_layout(data))
    return _png(display.plot)


def _real_caption(data):
    if data.image_shape is None:
        return (
            "Real data: the columns of held-out rows, and pairs of columns that go together most."
        )
    if data.classes:
        return "Real data: held-out images, one row for each class."
    return "Real data: held-out images."


def _table_picture(data, model=None, random_state=0):
    """PNG of the columns of held-out rows, behind those of draws if there is a model."""
    rows = data.X_test[:MAX_SHOWN]
    draws = None
    if model is not None:
        draws = model.sample(min(len(data.X_test), MAX_SHOWN), random_state=random_state)
    if data.table is None:
        rows = _by_name(rows, data.feature_names)
        draws = draws if draws is None else _by_name(np.asarray(draws), data.feature_names)
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    display = TableDisplay(rows, draws)
    n_rows = -(-(len(display.columns) + len(display.pairs)) // N_PANELS)
    figure.set_size_inches(10.5, 2.0 * n_rows + 0.4)
    display.plot(figure, n_cols=N_PANELS)
    return _as_png(figure)


def _by_name(rows, names):
    """Rows of an array as a frame with these names, if there are names and pandas."""
    if names is None or not has_pandas():
        return rows
    import pandas as pd

    return pd.DataFrame(rows, columns=names)


def _sample_picture(model, data, random_state):
    """PNG of draws, in the layout of the real rows."""
    if is_classifier(model):
        request = {"y": data.classes[:MAX_LABELS]}
    else:
        request = {"n_samples": N_COLS * MAX_LABELS}

    def plot(ax):
        SampleGridDisplay.from_estimator(
            model, n_cols=N_COLS, random_state=random_state, ax=ax, **request, **_layout(data)
        )

    return _png(plot)


def _mean_picture(model, data, random_state):
    """PNG of means that are decoded from draws of the prior."""
    means = generator_of(model).sample_mean(N_COLS * N_MEAN_ROWS, random_state=random_state)
    rows = model[:-1].inverse_transform(means)
    return _png(SampleGridDisplay(rows, n_cols=N_COLS, **_layout(data)).plot)


def _reconstruction_picture(model, data):
    """PNG of held-out rows above their reconstructions."""

    def plot(ax):
        ReconstructionDisplay.from_estimator(
            model, data.X_test, n_rows=N_COLS, ax=ax, **_layout(data)
        )

    return _png(plot)


def _completion_picture(model, data, random_state):
    """PNG of held-out images, their upper halves, and draws of their lower halves."""
    steps = model[:-1]
    generator = generator_of(model)
    half = data.n_features // 2
    X = np.asarray(data.X_test[:N_COLS], dtype=np.float64)
    visible = X.copy()
    visible[:, half:] = (data.levels - 1) / 2
    known = np.array(steps.transform(X))
    known[:, half:] = np.nan
    with warnings.catch_warnings(category=UserWarning, action="ignore"):
        # One call for all draws of all images: most of its time does not depend on the rows.
        draws = generator.sample(
            N_COMPLETIONS * len(X),
            given=np.tile(known, (N_COMPLETIONS, 1)),
            random_state=random_state,
        )
    rows = np.concatenate([X, visible, steps.inverse_transform(draws)])
    return _png(SampleGridDisplay(rows, n_cols=N_COLS, **_layout(data)).plot)


def _code_picture(model, data):
    """PNG of codes; those of more than two dimensions in the plane of their largest variance."""
    components = (0, 1)
    if generator_of(model).n_components > 2:
        components = "pca"

    def plot(ax):
        LatentDisplay.from_estimator(
            model, data.X_test[:MAX_CODES], data.y_test[:MAX_CODES], components=components, ax=ax
        )

    return _png(plot)


def _manifold_picture(model, data):
    """PNG of images over a grid of codes."""

    def plot(ax):
        ManifoldDisplay.from_estimator(model, X=data.X_test[:MAX_CODES], ax=ax, **_layout(data))

    return _png(plot)


def _layout(data):
    """The image shape and range of values that all pictures of images share."""
    return {"image_shape": data.image_shape, "value_range": (0, data.levels - 1)}


def _png(plot):
    """PNG of what plot(ax=...) draws, on a transparent background."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    plot(ax=ax)
    ax.tick_params(labelsize=FONT_SIZE)
    for text in _texts(ax):
        text.set_fontsize(FONT_SIZE)
    return _as_png(figure)


def _texts(ax):
    """Labels of axes, titles and the words of a legend."""
    texts = [ax.xaxis.label, ax.yaxis.label, ax.title, ax._left_title]
    legend = ax.get_legend()
    if legend is not None:
        texts += legend.get_texts()
    return texts


def _as_png(figure):
    """PNG of a figure on a transparent background, in a colour that any page shows."""
    texts = [text for legend in figure.legends for text in legend.get_texts()]
    for ax in figure.axes:
        ax.set_facecolor("none")
        ax.tick_params(colors=INK)
        texts += _texts(ax)
        for spine in ax.spines.values():
            spine.set_edgecolor(INK)
    for text in texts:
        text.set_color(INK)
    file = io.BytesIO()
    figure.savefig(
        file, format="png", dpi=110, transparent=True, bbox_inches="tight", pad_inches=0.02
    )
    return file.getvalue()


def _figure(png, caption, alt, *, wide=False):
    """HTML of a picture. A wide one keeps its size on a narrow screen, and is scrolled there."""
    source = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    image = f'<img src="{source}" alt="{html.escape(alt, quote=True)}">'
    if caption:
        image += f"<figcaption>{html.escape(caption)}</figcaption>"
    if wide:
        return f'<figure class="wide">{image}</figure>'
    return f"<figure>{image}</figure>"


PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1c2126; --soft: #5b6570; --page: #f6f7f8; --card: #fff; --rule: #dde1e5;
  --mark: #1864ab; --note: #8a4b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --soft: #a3acb5; --page: #14171a; --card: #1d2125;
  --rule: #363c43; --mark: #74c0fc; --note: #ffc078; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 72rem; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 1rem; }
h3 { font-size: 1.05rem; margin: 0; }
p { margin: .4rem 0; }
.lead { color: var(--soft); max-width: 60rem; }
.card, article { background: var(--card); border: 1px solid var(--rule); border-radius: .6rem;
  padding: 1.1rem 1.25rem; }
.data { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 1.5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1rem; margin: 0; align-content: start; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 0; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .4rem; }
img { display: block; width: 100%; height: auto; }
.wide { overflow-x: auto; }
.wide img { min-width: 44rem; }
.data > .wide, .data > .wide + dl { grid-column: 1 / -1; }
.data > *, .cards > * { min-width: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .8rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th:first-child, th[scope=row] { text-align: left; padding-left: 0; }
thead th, thead td { color: var(--soft); font-weight: 500; font-size: .9rem; }
tbody tr:first-child > * { font-weight: 650; }
tbody tr:last-child > * { border-bottom: 0; }
tbody th { font-weight: 500; }
.interval { text-align: center; padding-right: 0; }
@media (max-width: 40rem) { th, td { padding: .35rem .4rem; } tbody th[scope=row] { white-space: normal; } }
svg { vertical-align: middle; }
svg line { stroke: var(--mark); stroke-width: 1.5; }
svg circle { fill: var(--mark); }
.meanings { margin-top: 1.25rem; font-size: .92rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); gap: 1.25rem; }
.tables { grid-template-columns: 1fr; }
pre { margin: .4rem 0; white-space: pre-wrap; }
code { font: .82rem/1.4 ui-monospace, monospace; color: var(--soft); overflow-wrap: anywhere; }
article figure { margin-top: .8rem; }
.note { color: var(--note); font-size: .9rem; }
</style>
</head>
<body>
<header><h1>$title</h1><p class="lead">$lead</p></header>
<main>
<section aria-label="The data"><h2>The data</h2><div class="card data">$real<dl>$facts</dl></div></section>
<section aria-label="The numbers"><h2>The numbers</h2><div class="card"><div class="wide"><table>$table</table></div>
<dl class="meanings">$meanings</dl></div></section>
<section aria-label="The samples"><h2>The samples</h2><div class="cards$kind">$cards</div></section>
</main>
</body>
</html>
""")
