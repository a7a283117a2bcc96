"""Pictures from a hidden Markov model of a series.

    python examples/sequence_pictures.py
    python examples/sequence_pictures.py --states 4 -o series.png

A machine is idle, works, or runs hot; a sensor reports its load, with gaps. The script fits a
hidden Markov model to sequences of the sensor. The panels show a sequence with its most probable
states and a forecast with its interval of 90 %, futures of the same sequence drawn from the model,
a new sequence, and the states with their transitions.
"""

import argparse
import warnings

import numpy as np
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning

from probgen import HiddenMarkovModel
from probgen.plots import SequenceDisplay, StateDisplay

TRANSITIONS = np.array([[0.95, 0.05, 0.0], [0.04, 0.92, 0.04], [0.10, 0.0, 0.90]])
MEANS = np.array([1.0, 5.0, 9.0])
SCALES = np.array([0.3, 1.0, 0.5])
N_STEPS = 120
N_AHEAD = 40
N_FUTURES = 30


def simulate(n, rng):
    """Sequences (n, N_STEPS) of the sensor, of which a twentieth is missing."""
    rows = np.empty((n, N_STEPS))
    for row in rows:
        state = rng.integers(3)
        for t in range(N_STEPS):
            row[t] = rng.normal(MEANS[state], SCALES[state])
            state = rng.choice(3, p=TRANSITIONS[state])
    rows[rng.random(rows.shape) < 0.05] = np.nan
    return rows


def draw(model, past):
    """The figure of a fitted model and the past (1, N_STEPS) of a sequence."""
    figure = Figure(figsize=(12.0, 8.0), layout="constrained")
    panels = figure.subplot_mosaic(
        [["past", "past", "states"], ["futures", "new", "states"]], width_ratios=[1.0, 1.0, 0.9]
    )
    SequenceDisplay.from_estimator(model, past, forecast=N_AHEAD, ax=panels["past"])
    panels["past"].set_title("most probable states, and forecast with interval of 90 %")

    given = np.full(N_STEPS, np.nan)
    given[: N_STEPS - N_AHEAD] = past[0, N_AHEAD:]
    futures = model.sample(N_FUTURES, given=given, random_state=0)
    SequenceDisplay(futures[0, : N_STEPS - N_AHEAD]).plot(ax=panels["futures"])
    times = np.arange(N_STEPS - N_AHEAD, N_STEPS)
    panels["futures"].plot(times, futures[:, times].T, color="C0", alpha=0.2)
    panels["futures"].set_title(f"{N_FUTURES} futures")

    new = model.sample(1, random_state=1)
    SequenceDisplay(new[0], model.decode(new)[0]).plot(ax=panels["new"])
    panels["new"].set_title("a draw")

    labels = [f"{mean:.1f}" for mean in model.means_[:, 0]]
    StateDisplay.from_estimator(model, labels=labels, ax=panels["states"])
    panels["states"].set_title("states by their mean, with transitions")
    return figure


def main():
    """Fit the model and write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--states", type=int, default=3, help="states of the model")
    parser.add_argument("--epochs", type=int, default=100, help="iterations of EM at most")
    parser.add_argument("-o", "--output", default="sequence_pictures.png", help="the picture")
    arguments = parser.parse_args()
    rows = simulate(40, np.random.default_rng(0))
    model = HiddenMarkovModel(arguments.states, max_iter=arguments.epochs, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(rows)
    draw(model, rows[:1]).savefig(arguments.output, dpi=100)


if __name__ == "__main__":
    main()
