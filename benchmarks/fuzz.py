"""A long run of random calls of every public estimator: counts of their outcomes.

It draws sequences of four calls with hypothesis, as `tests/test_fuzz.py` does, and prints what is
outside of the contract: an error that is none of ours, or a number that is none.

    python benchmarks/fuzz.py                  # 20,000 calls
    python benchmarks/fuzz.py --calls 2000 --seed 1
"""

import argparse
import collections
import sys
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fuzzing import MODELS, new_counts, play

N_CALLS = 4  # of a sequence


def fuzz(model, n_sequences, chosen_seed, counts, faults):
    """Play sequences of calls of a model, count their outcomes and print what is outside."""

    @seed(chosen_seed)
    @settings(
        max_examples=n_sequences,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def sequences(data):
        for found, history in play(data, model, counts, N_CALLS):
            if found not in ("result", "refusal"):
                faults[type(model).__name__, found] += 1
                print(f"{type(model).__name__}: {found} {str(history[-1])[:300]}", flush=True)

    sequences()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    n_sequences = -(-arguments.calls // (N_CALLS * len(MODELS)))
    counts, faults = new_counts(), collections.Counter()
    start = time.perf_counter()
    for model in MODELS:
        fuzz(model, n_sequences, arguments.seed, counts, faults)
    print(f"{sum(counts.values())} calls in {time.perf_counter() - start:.0f} s: {dict(counts)}")
    for (name, found), count in faults.most_common():
        print(f"{count:6d} {name}: {found}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
