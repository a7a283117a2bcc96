"""Open forged model files, and use those that open: what is refused, and that nothing crashes.

Model files of every family in tests/files are mutated, in their structure and in their arrays,
under right checksums. Each is opened in a worker process, and what opens then scores, draws and
goes on with `partial_fit` there. A worker that dies counts as a crash. One that takes too long
counts as a hang. Both are printed with the seed of the mutation, and the file is kept. An error of
`load` other than FileFormatError is a fault too. Errors of a model that opened are counted by type:
a file may hold a model with a parameter that no method takes.

    nice python benchmarks/fuzz_files.py --n 10000 --seed 0
"""

import argparse
import collections
import json
import os
import random
import select
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

FILES = sorted((ROOT / "tests" / "files").glob("*/*.probgen"))
MEMORY = 8 * 2**30  # bytes of address space of a worker
SECONDS = 60.0  # that a file may take


def work():
    """Use the files that are named on the standard input, each in a line; print what came."""
    if os.name == "posix":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    # Reports go to the old standard output, on which nothing else may print.
    reports = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    import torch

    import probgen

    torch.set_num_threads(1)
    answers = {}
    for path in FILES:
        with np.load(path.with_suffix(".npz")) as stored:
            answers[path.stem] = stored["rows"]
    for line in sys.stdin:
        path, seed_file = json.loads(line)
        print(json.dumps(use(probgen, path, answers[seed_file])), file=reports, flush=True)


def use(probgen, path, rows):
    """What comes of a file: a dict from the step to "ok" or the name of an error."""
    outcome = {}
    try:
        model = probgen.load(path, device="cpu")
    except probgen.FileFormatError as error:
        is_sentence = "\n" not in str(error) and len(str(error)) < 1000
        return {"load": "refused" if is_sentence else "refused in more than a sentence"}
    except Exception as error:
        return {"load": f"{type(error).__name__}: {error}"[:200]}
    outcome["load"] = "ok"
    arguments = {"score": [rows], "sample": [3], "partial_fit": [rows]}
    try:
        arguments["partial_fit"].append(np.resize(model.classes_, len(rows)))
    except Exception as error:  # many a model has no classes, and a forged one may say so loudly
        outcome["classes"] = type(error).__name__
    for method, values in arguments.items():
        if not hasattr(type(model), method):
            continue
        try:
            getattr(model, method)(*values)
            outcome[method] = "ok"
        except Exception as error:
            outcome[method] = type(error).__name__
    return outcome


class Worker:
    """A process that uses files, and is started anew when it dies or hangs."""

    def __init__(self):
        self.process = None

    def use(self, path, seed_file):
        """What comes of a file, "crash" with the exit status, or "hang"."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, __file__, "--work"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
        try:
            self.process.stdin.write(json.dumps([str(path), seed_file]) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return self._stop("crash")
        ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
        if not ready:
            return self._stop("hang")
        line = self.process.stdout.readline()
        return json.loads(line) if line else self._stop("crash")

    def _stop(self, what):
        self.process.kill()
        status = self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process = None
        return {"load": f"{what} ({status})"}


def main():
    """Run the mutations, and print the counts of what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000, help="mutations")
    parser.add_argument("--seed", type=int, default=0, help="of the first mutation")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="to stop after")
    parser.add_argument("--folder", type=Path, default=Path("fuzz_files"), help="of what failed")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return work()
    from file_mutations import mutated

    options.folder.mkdir(exist_ok=True)
    contents = {path.stem: path.read_bytes() for path in FILES}
    counts, errors = collections.Counter(), collections.defaultdict(collections.Counter)
    worker, start, n_done = Worker(), time.monotonic(), 0
    path = options.folder / f"now-{options.seed}.probgen"
    for seed in range(options.seed, options.seed + options.n):
        if time.monotonic() - start > options.seconds:
            break
        rng = random.Random(seed)
        name = rng.choice(sorted(contents))
        content, change = mutated(contents[name], rng)
        path.write_bytes(content)
        outcome = worker.use(path, name)
        n_done += 1
        if outcome["load"] not in ("ok", "refused"):
            counts[outcome["load"].split(":")[0]] += 1
            print(f"{seed}: {name}: {change}: {outcome}", flush=True)
            (options.folder / f"{seed}.probgen").write_bytes(content)
            continue
        counts[outcome["load"]] += 1
        for method, what in outcome.items():
            errors[method][what] += 1
    path.unlink(missing_ok=True)
    print(f"{n_done} files in {time.monotonic() - start:.0f} s: {dict(counts.most_common())}")
    for method in ("score", "sample", "partial_fit"):
        print(f"  {method} of those that opened: {dict(errors[method].most_common())}")
    return None


if __name__ == "__main__":
    main()
