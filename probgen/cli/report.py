"""The comparison as one HTML page that needs nothing but itself."""

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

from probgen.cli.comparison import N_DRAWS, TEST_SIZE, sort_by_likelihood, table_columns
from probgen.plots import LatentDisplay, ManifoldDisplay, ReconstructionDisplay, SampleGridDisplay

PACKAGES = ("probgen", "numpy", "scipy", "scikit-learn", "torch", "matplotlib")
N_COLS = 12
MAX_LABELS = 10
MEAN_ROWS, N_COMPLETIONS, MAX_CODES = 3, 3, 1000
INK = "#808080"  # readable on white and on black

MEANINGS = {
    "nats per row": (
        "Mean log-likelihood of the held-out rows, in natural units, and its standard error. Higher"
        " is better: a gap of one nat means rows that are 2.7 times as probable."
    ),
    "bits/dim": (
        "The same number in bits for each column (pixel and channel), with the sign turned: the"
        " length of a code. Lower is better. The integers themselves are scored, so that continuous"
        " and discrete models compare."
    ),
    "likelihood": (
        "What the number is: exact, a lower bound (the truth is at least as good) or an estimate."
    ),
    "accuracy": (
        "Share of held-out rows whose class Bayes' rule recovers, for generators that learn each"
        " class."
    ),
    "fit": "Seconds to fit the generator to the training rows.",
    "draw": f"Seconds to draw {N_DRAWS:,} rows.",
}
UNITS = {
    True: " It is the log-probability of the integers.",
    False: (
        " It is a density in the units of the data, so it changes with them and may be positive."
    ),
}


def render_report(data, results, *, random_state):
    """Return the page.

    Parameters
    ----------
    data : Data
    results : list of Result
    random_state : int
        The seed, to be told.

    Returns
    -------
    page : str
        HTML with its style and pictures inside.
    """
    ranked = sort_by_likelihood(results)
    facts = {
        "Data": data.name,
        "Rows": (
            f"{len(data.X_train):,} to learn from, {len(data.X_test):,} held out ({TEST_SIZE:.0%}"
            + (", stratified by class)" if data.classes else ")")
        ),
        "Columns": f"{data.n_features:,}" + _value_fact(data),
        "Classes": f"{len(data.classes)}" if data.classes else "none",
        "Seed": f"{random_state}",
        "Versions": ", ".join(f"{name} {number}" for name, number in _versions().items()),
    }
    return PAGE.substitute(
        title=f"Generators of {html.escape(data.name)}",
        lead=(
            f"{len(results)} generators learn from the same rows, are scored on rows held out, and"
            " draw new ones."
        ),
        facts="".join(
            f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in facts.items()
        ),
        real=_figure(_real_picture(data), _real_caption(data), f"Held-out rows of {data.name}."),
        table=_table(ranked),
        meanings="".join(
            f"<dt>{name}</dt><dd>{html.escape(meaning)}</dd>"
            for name, meaning in _meanings(data, ranked).items()
        ),
        cards="".join(_card(result, data, random_state) for result in ranked),
    )


def _table(results):
    table = table_columns(results)
    intervals = _intervals(results)
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table)
    rows = []
    for i in range(len(results)):
        first, *others = [html.escape(cells[i]) for cells in table.values()]
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        rows.append(
            f'<tr><th scope="row">{first}</th>{cells}<td class="interval">{intervals[i]}</td></tr>'
        )
    return (
        f'<thead><tr>{head}<td class="interval">worse →'
        f" better</td></tr></thead><tbody>{''.join(rows)}</tbody>"
    )


def _intervals(results):
    """A small drawing of each likelihood, two standard errors to each side, on one scale."""
    scored = [result for result in results if np.isfinite(result.nats)]
    if not scored:
        return [""] * len(results)
    low = min(result.nats - 2 * result.error for result in scored)
    high = max(result.nats + 2 * result.error for result in scored)

    def place(value):
        return f"{3 + 134 * (value - low) / max(high - low, 1e-300):.1f}"

    return [
        (
            '<svg viewBox="0 0 140 14" width="140" height="14" aria-hidden="true"><line'
            f' x1="{place(r.nats - 2 * r.error)}" x2="{place(r.nats + 2 * r.error)}" y1="7"'
            f' y2="7"/><circle cx="{place(r.nats)}" cy="7" r="3.5"/></svg>'
            if r in scored
            else ""
        )
        for r in results
    ]


def _meanings(data, results):
    """What each column of the table means."""
    meanings = MEANINGS | {
        "nats per row": MEANINGS["nats per row"] + UNITS[data.levels is not None]
    }
    return {name: meaning for name, meaning in meanings.items() if name in table_columns(results)}


def _card(result, data, random_state):
    notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in result.notes)
    pictures = "" if result.model is None else _pictures(result, data, random_state)
    return (
        f"<article><h3>{html.escape(result.name)}</h3><p><code>{html.escape(result.parameters)}</code></p>{notes}"
        f"{pictures}</article>"
    )


def _pictures(result, data, random_state):
    """The figures of a fitted model: those that it can make."""
    name, model = result.name, result.model
    generator, is_image = model.steps[-1][1], data.image_shape is not None
    by_class = "; each row is a class" if is_classifier(model) and data.classes else ""
    figures = [
        _figure(_model_picture(model, data, random_state), "", f"Rows drawn from {name}{by_class}.")
    ]
    if hasattr(generator, "sample_mean") and not is_classifier(model):
        caption = "The means that draws scatter about."
        figures.append(
            _figure(_mean_picture(model, data, random_state), caption, f"Decoded means of {name}.")
        )
    if hasattr(generator, "reconstruct"):
        caption = "Held-out rows, and below each what its code decodes to."
        alt = f"Held-out rows and their reconstructions by {name}."
        figures.append(_figure(_reconstruction_picture(model, data), caption, alt))
    if is_image and get_tags(generator).conditions:
        caption = "Held-out images, what is left of them, and below each three draws of the rest."
        figures.append(
            _figure(
                _completion_picture(model, data, random_state), caption, f"Halves drawn by {name}."
            )
        )
    if hasattr(generator, "reconstruct") and data.classes:
        figures.append(
            _figure(
                _code_picture(model, data), "Codes of held-out rows.", f"Codes of {name} by class."
            )
        )
        if is_image and generator.n_components == 2:
            caption = "The plane of codes, decoded."
            figures.append(
                _figure(
                    _manifold_picture(model, data), caption, f"Images over the codes of {name}."
                )
            )
    return "".join(figures)


def _real_picture(data):
    """PNG of held-out rows, a row of the grid for each class if there are classes."""
    labels = [label for label in data.classes if label in data.y_test][:MAX_LABELS]
    X = np.full((max(len(labels), 1), N_COLS, data.n_features), np.nan)
    for k, label in enumerate(labels):
        rows = data.X_test[data.y_test == label][:N_COLS]
        X[k, : len(rows)] = rows
    X = X.reshape(-1, data.n_features) if labels else data.X_test[: N_COLS * MAX_LABELS]
    display = SampleGridDisplay(
        X, **_grid(data), row_labels=labels or None, feature_names=data.feature_names
    )
    return _png(display.plot)


def _model_picture(model, data, random_state):
    """PNG of draws, laid out as the real rows are."""
    wanted = (
        {"y": data.classes[:MAX_LABELS]}
        if is_classifier(model)
        else {"n_samples": N_COLS * MAX_LABELS}
    )
    return _png(
        lambda ax: SampleGridDisplay.from_estimator(
            model, **wanted, **_grid(data), random_state=random_state, ax=ax
        )
    )


def _reconstruction_picture(model, data):
    """PNG of held-out rows above their reconstructions."""
    layout = {name: value for name, value in _grid(data).items() if name != "n_cols"}
    return _png(
        lambda ax: ReconstructionDisplay.from_estimator(
            model, data.X_test, n_rows=N_COLS, **layout, ax=ax
        ),
    )


def _mean_picture(model, data, random_state):
    """PNG of decoded codes of the prior."""
    means = model.steps[-1][1].sample_mean(N_COLS * MEAN_ROWS, random_state=random_state)
    display = SampleGridDisplay(
        model[:-1].inverse_transform(means), **_grid(data), feature_names=data.feature_names
    )
    return _png(display.plot)


def _completion_picture(model, data, random_state):
    """PNG of held-out images, their upper halves, and draws of their lower ones."""
    steps = model[:-1]
    generator = model.steps[-1][1]
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
    rows = [X, visible, steps.inverse_transform(draws)]
    return _png(SampleGridDisplay(np.concatenate(rows), **_grid(data)).plot)


def _code_picture(model, data):
    """PNG of codes, of more than two numbers in the plane where they vary most."""
    components = "pca" if model.steps[-1][1].n_components > 2 else (0, 1)
    X, y = data.X_test[:MAX_CODES], data.y_test[:MAX_CODES]
    return _png(lambda ax: LatentDisplay.from_estimator(model, X, y, components=components, ax=ax))


def _manifold_picture(model, data):
    """PNG of images over a grid of codes."""
    layout = {name: value for name, value in _grid(data).items() if name != "n_cols"}
    return _png(
        lambda ax: ManifoldDisplay.from_estimator(model, X=data.X_test[:MAX_CODES], **layout, ax=ax)
    )


def _grid(data):
    """Layout and scale that all pictures of the page share."""
    if data.image_shape is not None:
        return {
            "image_shape": data.image_shape,
            "n_cols": N_COLS,
            "value_range": (0, data.levels - 1),
        }
    X = np.asarray(data.X_train, dtype=np.float64)
    limits = np.nanquantile(X, [0.01, 0.99], axis=0)
    return {"image_shape": (1, data.n_features), "n_cols": N_COLS, "value_range": tuple(limits)}


def _png(plot):
    """PNG of what plot(ax) draws, clear where nothing is drawn."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    plot(ax=ax)
    ax.tick_params(colors=INK, labelsize=13)
    legend = ax.get_legend()
    for text in (ax.xaxis.label, ax.yaxis.label, *(legend.get_texts() if legend else ())):
        text.set_color(INK)
    for spine in ax.spines.values():
        spine.set_edgecolor(INK)
    ax.set_facecolor("none")
    file = io.BytesIO()
    figure.savefig(
        file, format="png", dpi=110, transparent=True, bbox_inches="tight", pad_inches=0.02
    )
    return file.getvalue()


def _figure(png, caption, alt):
    source = "data:image/png;base64," + base64.b64encode(png).decode("ascii")
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="{source}" alt="{html.escape(alt, quote=True)}">{below}</figure>'


def _real_caption(data):
    if data.image_shape is None:
        return (
            "Real data: held-out rows; a column of the picture is a column of the table, light is"
            " large."
        )
    return "Real data: held-out images" + (", a row for each class." if data.classes else ".")


def _value_fact(data):
    """What the columns hold."""
    if data.image_shape is not None:
        return f": images of {'x'.join(map(str, data.image_shape))} with {data.levels} levels"
    return (
        " of numbers"
        if data.levels is None
        else f" of integers from 0 to {np.max(data.levels) - 1}"
    )


def _versions():
    """Versions of what made the numbers, Python first."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


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
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .8rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th:first-child, th[scope=row] { text-align: left; padding-left: 0; }
thead th, thead td { color: var(--soft); font-weight: 500; font-size: .9rem; }
tbody tr:first-child > * { font-weight: 650; }
tbody tr:last-child > * { border-bottom: 0; }
tbody th { font-weight: 500; }
.interval { text-align: center; padding-right: 0; }
svg { vertical-align: middle; }
svg line { stroke: var(--mark); stroke-width: 1.5; }
svg circle { fill: var(--mark); }
.meanings { margin-top: 1.25rem; font-size: .92rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); gap: 1.25rem; }
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
<section aria-label="The samples"><h2>The samples</h2><div class="cards">$cards</div></section>
</main>
</body>
</html>
""")
