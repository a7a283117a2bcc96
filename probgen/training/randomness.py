"""Temporary states of torch's global generator, for code that cannot use another one."""

import contextlib
import threading
from collections.abc import Iterator

import torch

_GLOBAL_GENERATOR = threading.RLock()  # all threads share torch's generator


@contextlib.contextmanager
def global_generator(
    device: str, seed: int | None = None, state: dict | None = None
) -> Iterator[None]:
    """Run the body with torch's global generator in another state; one thread at a time.

    Parameters
    ----------
    device : str
        "cpu", or a CUDA device, whose generator then has another state too.
    seed : int, optional
        Seed of the state.
    state : dict, optional
        State by device from an earlier call, or an empty dict; updated to the state after the body.

    Notes
    -----
    `torch.random.fork_rng` does not exclude other threads.
    """
    devices = ["cpu"]
    if device != "cpu":
        devices.append(device)
    with _GLOBAL_GENERATOR:
        before = [_get_state(name) for name in devices]
        try:
            for name in devices:
                if state:
                    _set_state(name, state[name])
                elif seed is not None:
                    _seed(name, seed)
            yield
            if state is not None:
                state.update({name: _get_state(name) for name in devices})
        finally:
            try:
                _restore(devices, before)
            except KeyboardInterrupt:  # that came before the end
                _restore(devices, before)
                raise


def _restore(devices: list[str], states: list[torch.Tensor]) -> None:
    for name, state in zip(devices, states):
        _set_state(name, state)


def _get_state(device: str) -> torch.Tensor:
    if device == "cpu":
        return torch.get_rng_state()
    return torch.cuda.get_rng_state(device)


def _set_state(device: str, state: torch.Tensor) -> None:
    if device == "cpu":
        torch.set_rng_state(state)
    else:
        torch.cuda.set_rng_state(state, device)


def _seed(device: str, seed: int) -> None:
    """Seed one generator; torch.manual_seed would seed those of every device."""
    if device == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
