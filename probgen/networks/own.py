"""Networks of users: called with rows of two axes, and tried before they are trained."""

import copy
from typing import Any

import torch
from torch import nn

from probgen.networks.checks import N_TRIAL, check_network

LEAST_ROWS = "least_rows_in_training"  # attribute of networks that one row alone cannot train


class RowNetwork(nn.Module):
    """A network of rows, which gets rows of two axes whatever the axes of the inputs are.

    Layers such as BatchNorm1d and Unflatten take the second axis for the features, whereas codes
    may come as (n_draws, n, k).

    Parameters
    ----------
    network : torch.nn.Module
        From rows (n, d) to (n, k).

    Examples
    --------
    >>> import torch
    >>> RowNetwork(torch.nn.BatchNorm1d(2))(torch.zeros(5, 3, 2)).shape
    torch.Size([5, 3, 2])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        outputs = self.network(rows.reshape(-1, rows.shape[-1]))
        return outputs.reshape(*rows.shape[:-1], outputs.shape[-1])


def own_network(
    network: nn.Module,
    n_inputs: int,
    n_outputs: int,
    name: str,
    *,
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """Return a copy of a user's network that maps each row by itself and can be trained.

    Where one row alone cannot train it, the copy has an attribute that `least_rows` reads.

    Parameters
    ----------
    network, n_inputs, n_outputs, name, dtype
        As in `check_network`.

    Returns
    -------
    network : torch.nn.Module

    Raises
    ------
    ValueError
        As in `check_network`; if the network cannot be run in training mode, or rows depend on each
        other otherwise.

    Examples
    --------
    >>> from torch import nn
    >>> least_rows(own_network(nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)), 4, 2, "encoder"))
    2
    """
    checked = check_network(network, n_inputs, n_outputs, name, dtype=dtype)
    kind = type(network).__name__
    with torch.random.fork_rng(devices=[]):
        rows = torch.rand(N_TRIAL, n_inputs, dtype=dtype)
        if not _is_row_by_row(checked, rows):
            raise ValueError(
                f"{name} must map each row by itself after eval(); outputs of {kind} for a row"
                " depend on the other rows, as those of batch norm without running statistics do."
            )
        try:
            is_finite = bool(_run(checked.train(), rows).isfinite().all())
        except Exception as error:  # whatever a user's forward may raise
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise ValueError(
                f"{name} must map rows of shape (n, {n_inputs}) after train() too; {kind} raised"
                f" {type(error).__name__}: {reason}"
            ) from error
        try:
            takes_one = bool(_run(checked, rows[:1]).isfinite().all()) or not is_finite
        except Exception:  # such as batch norm's, of one value for each channel
            takes_one = False
    if not takes_one:
        setattr(checked, LEAST_ROWS, N_TRIAL)
    return checked


def least_rows(network: Any) -> int:
    """Return the rows that a batch must have to train a module, by the networks inside.

    Examples
    --------
    >>> least_rows(torch.nn.Linear(4, 2))
    1
    """
    return max(getattr(module, LEAST_ROWS, 1) for module in network.modules())


def _is_row_by_row(network: nn.Module, rows: torch.Tensor) -> bool:
    """Whether the output for a row does not depend on the others, in evaluation mode."""
    network.eval()
    try:
        together, alone = _run(network, rows)[:1], _run(network, rows[:1])
    except Exception:  # whatever a user's forward raises for one row, having taken two
        return False
    tolerance = 1e-3 * float(together.abs().max())
    return bool(torch.allclose(together, alone, rtol=0.0, atol=tolerance, equal_nan=True))


def _run(network: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """Outputs of a copy of a network, with noise of one seed; the network itself stays as it is."""
    torch.default_generator.manual_seed(0)
    with torch.no_grad():
        return copy.deepcopy(network)(rows)
