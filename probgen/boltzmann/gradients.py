"""Gradients of a restricted Boltzmann machine in closed form: data less model."""

import torch
from torch import Tensor
from torch.nn import functional

from probgen.boltzmann.base import BoltzmannMachine


def energy_gradients(
    machine: BoltzmannMachine,
    units: Tensor,
    model_units: Tensor,
    centers: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
    """Return the gap of free energies, the gradients of the mean loss, and hidden probabilities.

    The loss is minus the log-likelihood, of which units of rows and units of the model stand for
    the two expectations.

    Parameters
    ----------
    machine : BoltzmannMachine
    units, model_units : Tensor of shape (n, n_units) and (m, n_units)
    centers : tuple of Tensor of shape (n_units,) and (n_hidden,), optional
        Offsets of visible and of hidden units. The direction is then that of a machine whose energy
        has the units less their offsets, which does not depend on which level of a unit is called 1
        [1]_. It ascends the likelihood as the gradient does.

    Returns
    -------
    gap : Tensor
        Mean free energy of the rows less that of the model's units.
    hidden : Tensor of shape (n, n_hidden)
        Probabilities of hidden units given rows.
    gradients : list of Tensor
        By weight, visible_bias, hidden_bias, then `machine.rest`.
    model_hidden : Tensor of shape (m, n_hidden)
        Probabilities of hidden units given the model's units.

    References
    ----------
    .. [1] G. Montavon, K.-R. Müller, Deep Boltzmann machines and the centering trick, 2012;
       J. Melchior, A. Fischer, L. Wiskott, How to center deep Boltzmann machines, 2016.
    """
    n, m = len(units), len(model_units)
    both = torch.cat([units, model_units])
    logits = machine.hidden_logits(both)
    hidden = torch.sigmoid(logits)
    terms = machine.linear_terms(both) + functional.softplus(logits).sum(-1)
    gap = terms[n:].mean() - terms[:n].mean()
    # Shares of rows in both means, with the sign of minus the log-likelihood.
    shares = both.new_full((n + m, 1), -1.0 / n)
    shares[n:] = 1.0 / m
    visible_gradient = shares[:, 0] @ both
    hidden_gradient = shares[:, 0] @ hidden
    if centers is None:
        weight_gradient = (shares * hidden).T @ both
    else:
        visible_center, hidden_center = centers
        weight_gradient = (shares * (hidden - hidden_center)).T @ both
        # The visible offset, too, of which the shares add up to 0.
        weight_gradient -= torch.outer(hidden_gradient, visible_center)
        visible_gradient = visible_gradient - hidden_center @ weight_gradient
        hidden_gradient = hidden_gradient - weight_gradient @ visible_center
    rest = machine.gradient_of_rest(units, model_units)
    return gap, hidden[:n], [weight_gradient, visible_gradient, hidden_gradient, *rest], hidden[n:]


def sparsity_gradients(
    units: Tensor, hidden: Tensor, target: float, weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a penalty on mean activities, and its gradients by weight and hidden_bias.

    The penalty is `weight` times the sum over hidden units of the divergence of their mean
    probabilities, over the rows of a batch, from those of a target.

    Parameters
    ----------
    units : Tensor of shape (n, n_units)
    hidden : Tensor of shape (n, n_hidden)
        Probabilities of the hidden units given the rows.
    target, weight : float
        As in `probgen.options.KLSparsity`.
    """
    eps = torch.finfo(hidden.dtype).eps
    mean = hidden.mean(0).clamp(eps, 1.0 - eps)
    divergence = target * torch.log(target / mean)
    divergence += (1.0 - target) * torch.log((1.0 - target) / (1.0 - mean))
    slope = weight * (mean - target) / (mean * (1.0 - mean))
    by_logit = slope * hidden * (1.0 - hidden) / len(hidden)
    return weight * divergence.sum(), by_logit.T @ units, by_logit.sum(0)
