"""Checks of a training state from a file, before anything uses it.

Fused optimisers write into their moments without a look at the shapes, so a wrong shape would not
raise but corrupt memory.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from typing import Any

import torch

from probgen.exceptions import FileFormatError
from probgen.persistence.checks import check_count, check_torch_state, is_subsequence

# Of torch's optimisers: what has the shape of a parameter, and what is one number. Others have
# shapes of their own, which those optimisers look at.
MOMENTS = {
    *("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "square_avg"),
    *("grad_avg", "acc_delta", "sum", "prev", "step_size", "ax"),
}
SCALARS = {"step", "mu_product", "eta", "mu"}
COUNTERS = ("epoch", "batch", "n_steps", "n_stale", "n_epochs")
KNOWN_MODULES = ("probgen.", "torch.", "pyro.")
BYTES_ON_GPU = 16  # of a generator there
# Of state dicts of optimisers and schedulers.
SETTINGS = (type(None), bool, Real, str)


def check_state(state: Any, networks: Iterable[torch.nn.Module]) -> None:
    """Raise a FileFormatError unless a training of these networks could take over a state.

    What a training moves is not known without its data, so shapes of moments and averages must
    occur among those of the weights in their order; `check_moments` compares them one by one.
    """
    with _refusing():
        weights = state["weights"]
        tensors = _tensors(weights.values())
        kinds = [_kind(tensor) for tensor in tensors]
        for network in networks:
            own = [_kind(tensor) for tensor in network.state_dict().values()]
            _check(is_subsequence(own, kinds), "weights of the shapes of the networks")
        _check(
            is_subsequence(map(_kind, _tensors(state["averages"])), kinds),
            "averages of the shapes of the weights",
        )
        best = state["best_weights"]
        if best is not None:
            is_same = best.keys() == weights.keys()
            is_same = is_same and [_kind(t) for t in _tensors(best.values())] == kinds
            _check(is_same, "best weights of the shapes of the weights")
        for optimizer in state["optimizers"]:
            _check_optimizer(optimizer, kinds)
        for scheduler in state["schedulers"]:
            _check_settings(scheduler)
        _check_randomness(state)
        _check_history(state)


def check_networks(networks: Iterable[torch.nn.Module], dtype: torch.dtype) -> None:
    """Raise a FileFormatError if a layer is of another precision than its estimator.

    Networks that contain modules of the user's own may convert between layers.
    """
    for network in networks:
        if not isinstance(network, torch.nn.Module):
            raise FileFormatError(f"a network must be a torch module; got {type(network).__name__}")
        modules = list(network.modules())
        if not all(type(module).__module__.startswith(KNOWN_MODULES) for module in modules):
            continue
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point() and tensor.dtype != dtype:
                raise FileFormatError(f"its networks must be of {dtype}; got {tensor.dtype}")


def check_moments(state: Any, parameters: Sequence[torch.Tensor]) -> None:
    """Raise a FileFormatError unless the state of an optimiser has the shapes of its parameters."""
    with _refusing():
        _check_optimizer(state)
        n_parameters = sum(len(group["params"]) for group in state["param_groups"])
        _check(n_parameters == len(parameters), "an optimiser of as many parameters")
        for index, entries in state["state"].items():
            expected = _kind(parameters[index])
            for name in MOMENTS & entries.keys():
                if entries[name] is not None:
                    _check(_kind(entries[name]) == expected, f"{name} of the shape of its weights")


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Turn what a state of another form raises into a FileFormatError."""
    try:
        yield
    except FileFormatError:
        raise
    except Exception as error:  # a forged state may hold anything anywhere
        raise FileFormatError("the training state has not the form of one") from error


def _check_optimizer(state: Any, kinds: Sequence[tuple] | None = None) -> None:
    """Check the form of an optimiser's state, whose moments follow a subsequence of the kinds."""
    indices = [index for group in state["param_groups"] for index in group["params"]]
    _check(indices == list(range(len(indices))), "parameters of an optimiser in their order")
    for group in state["param_groups"]:
        _check_settings({name: value for name, value in group.items() if name != "params"})
    found = []
    for index, entries in sorted(state["state"].items()):
        check_count(index)
        _check(index < len(indices), "an optimiser's state for parameters that it has")
        for name in SCALARS & entries.keys():
            _check(_is_scalar(entries[name]), f"one number as {name} of an optimiser")
        moments = [entries[name] for name in sorted(MOMENTS & entries.keys())]
        moments = [_kind(moment) for moment in moments if moment is not None]
        _check(len(set(moments)) <= 1, "moments of one shape for each parameter")
        found += moments[:1]
    if kinds is not None:
        _check(is_subsequence(found, kinds), "moments of the shapes of the weights")


def _check_settings(settings: Any) -> None:
    """Check that settings of an optimiser or scheduler are a nest of numbers and text."""
    if isinstance(settings, dict):
        settings = list(settings.values())
    if isinstance(settings, list | tuple):
        for part in settings:
            _check_settings(part)
        return
    _check(isinstance(settings, SETTINGS) or _is_scalar(settings), "plain settings")


def _check_randomness(state: Any) -> None:
    """Check the seeds, and the states of generators of this computer's kinds."""
    for seed in state["seeds"].values():
        _check(type(seed) is int and 0 <= seed < 2**63, "seeds below 2**63")
    template = torch.Generator("cpu").get_state()
    for noise in (state["noise"], *state["global_state"].values()):
        if noise.numel() != template.numel():  # of a GPU; torch looks at its length
            is_state = noise.dtype == torch.uint8 and noise.shape == (BYTES_ON_GPU,)
            _check(is_state, "states of generators")
        else:
            check_torch_state(noise, template)


def _check_history(state: Any) -> None:
    """Check the counts, the sums of losses and the records of epochs."""
    for name in COUNTERS:
        check_count(state[name])
    _check(isinstance(state["is_finished"], bool), "a flag that says whether it has ended")
    _check(isinstance(state["best_score"], Real), "a number as the best score")
    for total, count in state["sums"].values():
        check_count(count)
        _check(isinstance(total, Real) or _is_scalar(total), "sums of losses")
    _check(all(type(record) is dict for record in state["history"]), "records of epochs")


def _is_scalar(value: Any) -> bool:
    """Whether a value is a number, or a tensor of one real number."""
    if isinstance(value, torch.Tensor):
        return value.shape == () and value.dtype in (torch.float32, torch.float64)
    return isinstance(value, Real)


def _kind(tensor: Any) -> tuple:
    return tuple(tensor.shape), tensor.dtype


def _tensors(values: Iterable[Any]) -> list[torch.Tensor]:
    tensors = list(values)
    _check(all(isinstance(tensor, torch.Tensor) for tensor in tensors), "tensors as weights")
    return tensors


def _check(is_right: Any, expected: str) -> None:
    if not is_right:
        raise FileFormatError(f"the training state must hold {expected}")
