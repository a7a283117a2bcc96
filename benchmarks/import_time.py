"""Time `import probgen` against `import sklearn`, in pairs of fresh interpreters.

    python benchmarks/import_time.py [pairs]

The bar: the median of the differences stays below 0.3 s.
"""

import statistics
import subprocess
import sys
import tempfile

STATEMENTS = ("import sklearn", "import probgen", "from probgen import GaussianMixture")
CODE = "from time import perf_counter; start = perf_counter(); {}; print(perf_counter() - start)"


def seconds(statement, folder):
    """Seconds that a statement takes in a fresh interpreter started in folder."""
    command = [sys.executable, "-c", CODE.format(statement)]
    return float(
        subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    )


def main(n_pairs):
    """Print the medians, and the medians of the paired differences from scikit-learn."""
    with tempfile.TemporaryDirectory() as folder:
        for statement in STATEMENTS:  # fill the file cache
            seconds(statement, folder)
        rounds = [[seconds(statement, folder) for statement in STATEMENTS] for _ in range(n_pairs)]
    print(f"{n_pairs} rounds, Python {sys.version.split()[0]}")
    for column, statement in enumerate(STATEMENTS):
        median = statistics.median(times[column] for times in rounds)
        extra = statistics.median(times[column] - times[0] for times in rounds)
        print(f"{statement:<40} median {median:6.3f} s   more than sklearn {extra:+6.3f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
