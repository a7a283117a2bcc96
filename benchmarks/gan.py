"""GANs: toy sets of many modes, and their speed beside a loop written by hand.

    python benchmarks/gan.py             # all parts
    python benchmarks/gan.py toys        # one of them: toys, speed

toys: `GAN()` with its defaults on 10,000 rows of a grid of 25 Gaussians (spacing 2, deviation 0.05) and of a ring of 8
(radius 2, deviation 0.02), seeds 0 to 4: modes that at least 20 of 10,000 draws are near to, and the share of draws
within 3 deviations of a mode, which is 98.9 % in the data.

speed: seconds of an epoch of the same networks with the same losses and moving averages, by the engine and by a loop
written by hand; the median of ratios over pairs of epochs, taken in turn in one process. On a GPU the engine captures
its updates in CUDA graphs.
"""

import argparse
import copy
import os
import platform
import statistics
import time

import numpy as np
import torch
from torch.nn import functional

import probgen
from probgen import GAN
from probgen.training.engine import Training, draw_seeds
from probgen.training.rows import open_rows

N_ROWS, N_DRAWS = 10_000, 10_000
LEAST_DRAWS = 20  # near a mode that counts as found
WANTED_SHARE, WANTED_SECONDS, WANTED_LOOP = 0.90, 60.0, 1.05


def grid():
    """Centres of the grid of Gaussians, and their deviation."""
    steps = np.arange(-4.0, 5.0, 2.0)
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2), 0.05


def ring():
    """Centres of the ring of Gaussians, and their deviation."""
    angles = 2.0 * np.pi * np.arange(8) / 8
    return 2.0 * np.column_stack([np.cos(angles), np.sin(angles)]), 0.02


def draw_rows(centers, deviation, seed, n_rows=N_ROWS):
    """Rows (n_rows, 2) of a mixture of equal Gaussians."""
    rng = np.random.default_rng(seed)
    rows = centers[rng.integers(len(centers), size=n_rows)] + deviation * rng.standard_normal((n_rows, 2))
    return rows.astype(np.float32)


def judge(draws, centers, deviation):
    """Modes that were found, and the share of draws within 3 deviations of one."""
    distances = np.linalg.norm(draws[:, np.newaxis] - centers, axis=2)
    is_near = distances.min(axis=1) < 3.0 * deviation
    counts = np.bincount(distances.argmin(axis=1)[is_near], minlength=len(centers))
    return int(np.sum(counts >= LEAST_DRAWS)), float(is_near.mean())


def toys(seeds=range(5)):
    """Modes and shares of the defaults."""
    for toy in (grid, ring):
        centers, deviation = toy()
        for seed in seeds:
            X = draw_rows(centers, deviation, seed)
            start = time.perf_counter()
            model = GAN(random_state=seed).fit(X)
            taken = time.perf_counter() - start
            n_modes, share = judge(model.sample(N_DRAWS), centers, deviation)
            print(
                f"{toy.__name__} seed {seed}: {n_modes} of {len(centers)} modes"
                f"{_verdict(len(centers), n_modes, '>=')}, {share:.1%} of draws near a mode"
                f"{_verdict(WANTED_SHARE, share, '>=')}, {taken:.0f} s{_verdict(WANTED_SECONDS, taken, '<=')}",
                flush=True,
            )


def with_engine(model, X, batch_size, device):
    """A function that trains for an epoch by the engine."""
    rows = open_rows(X, device=device)
    settings = {"learning_rate": 2e-3, "batch_size": batch_size, "seeds": draw_seeds(np.random.default_rng(0))}
    trainer = model._default_trainer().set_params(schedule="constant")
    training = Training(model._make_objective(), trainer, **settings, device=device)

    def epoch():
        training.begin(1, rows.n_batches(batch_size), schedule=None)
        training.run(rows)

    return epoch


def by_hand(model, X, batch_size, device):
    """A function that trains for an epoch, with nothing in it that need not be there."""
    generator, discriminator = copy.deepcopy(model.generator_).train(), copy.deepcopy(model.discriminator_).train()
    center, scale = model._beside_networks(model._center), model._beside_networks(model._scale)
    rows = (torch.from_numpy(X).to(device) - center) / scale
    networks = (generator, discriminator)
    betas, weight = model._betas, model._penalty_weight
    by_generator, by_discriminator = (
        torch.optim.Adam(network.parameters(), lr=2e-3, betas=betas, fused=True) for network in networks
    )
    parameters = [parameter for network in networks for parameter in network.parameters()]
    averages = [parameter.detach().clone() for parameter in parameters]
    noise = torch.Generator(device)

    def epoch():
        order, total = torch.randperm(len(rows), device=device), 0.0
        for start in range(0, len(rows), batch_size):
            real = rows[order[start : start + batch_size]].requires_grad_()
            with torch.no_grad():
                fake = generator(torch.randn(len(real), model.n_components, device=device))
            scores = discriminator(torch.cat([real, fake]), generator=noise)
            (slopes,) = torch.autograd.grad(scores[: len(real)].sum(), real, create_graph=True)
            penalty = 0.5 * slopes.square().sum(1).mean()
            cross_entropy = (
                functional.softplus(-scores[: len(real)]).mean() + functional.softplus(scores[len(real) :]).mean()
            )
            loss = cross_entropy + weight * penalty
            by_discriminator.zero_grad()
            loss.backward()
            by_discriminator.step()
            fake = generator(torch.randn(len(real), model.n_components, device=device))
            deceived = functional.softplus(-discriminator(fake, generator=noise)).mean()
            by_generator.zero_grad()
            deceived.backward(inputs=list(generator.parameters()))
            by_generator.step()
            torch._foreach_lerp_(averages, [parameter.detach() for parameter in parameters], 1e-3)
            total += float(loss.detach() + deceived.detach()) if device == "cpu" else loss.detach() + deceived.detach()
        return float(total)

    return epoch


def seconds(function, device):
    """Seconds that a call takes."""
    start = time.perf_counter()
    function()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(name, device, X, batch_size, n_pairs, **parameters):
    """Print the ratio of epochs for networks with these parameters."""
    model = GAN(**parameters, max_iter=1, device=device, random_state=0).fit(X[:512])
    functions = [maker(model, X, batch_size, device) for maker in (with_engine, by_hand)]
    for function in functions:
        function()  # buffers, graphs
    pairs = []
    for k in range(n_pairs):
        order = (0, 1) if k % 2 else (1, 0)
        taken = {index: seconds(functions[index], device) for index in order}
        pairs.append((taken[0], taken[1]))
    ratio = statistics.median(engine / loop for engine, loop in pairs)
    engine, loop = (statistics.median(times) for times in zip(*pairs))
    print(
        f"{name:5} {device:4} batch {batch_size:3} engine {engine:.3f} s, loop {loop:.3f} s, "
        f"engine/loop {ratio:.3f}{_verdict(WANTED_LOOP, ratio, '<=')}",
        flush=True,
    )


def speed(n_pairs=9):
    """Dense networks on the grid, and convolutional ones on noise of the size of MNIST."""
    X = draw_rows(*grid(), seed=0)
    images = np.random.default_rng(0).random((1_600, 784), dtype=np.float32)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        compare("dense", device, X, 100, n_pairs)
        compare("conv", device, images, 64, n_pairs, architecture="conv")
    if "cuda" not in devices:
        print("no CUDA device: its part did not run")


def _verdict(wanted, value, relation):
    is_reached = value <= wanted if relation == "<=" else value >= wanted
    return f" (wanted {relation} {wanted:g}: {'ok' if is_reached else 'SHORT'})"


def main():
    parts = {"toys": toys, "speed": speed}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"one of {', '.join(parts)}; all by default")
    chosen = parser.parse_args().parts or list(parts)
    if not set(chosen) <= set(parts):
        parser.error(f"parts are {', '.join(parts)}; got {' '.join(chosen)}")
    print(
        f"probgen {probgen.__version__}, torch {torch.__version__}, {platform.processor() or platform.machine()}, "
        f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    )
    for name in chosen:
        parts[name]()


if __name__ == "__main__":
    main()
