"""Distributions of codes: priors, and posteriors that a network computes, as Pyro distributions."""

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import transforms
from pyro.nn import ConditionalAutoRegressiveNN
from torch import Tensor, nn

SMALLEST_SCALE = 1e-6
N_CONTEXT = 32  # outputs of the encoder that a flow is conditioned on
FLOW_WIDTH = 128  # least width of the networks of a flow
SPLINE_BINS = 8
SPLINE_BOUND = 5.0


class CodePosterior(nn.Module):
    """Gaussian with independent dimensions, perhaps transformed by flows, computed from a row.

    Parameters
    ----------
    network : torch.nn.Module
        From (n, d) to (n, n_outputs), see `n_outputs`.
    n_components : int
        Size of a code.
    flow : {"iaf", "spline"}, default=None
        Inverse autoregressive flows [1]_ or autoregressive rational splines [2]_, each conditioned
        on the row.
    n_flows : int, default=2
        Number of flows.
    center, scale : Tensor of shape (d,), default=None
        What is subtracted from the rows, and what they are divided by, before the network.
    encoding : torch.nn.Module, default=None
        Its method `encode` maps the first `n_features` numbers of rows to what the network sees in
        place of them. It replaces center and scale.

    References
    ----------
    .. [1] D. P. Kingma et al., Improving variational inference with inverse autoregressive flow,
       2016.
    .. [2] C. Durkan et al., Neural spline flows, 2019.

    Examples
    --------
    >>> import torch
    >>> posterior = CodePosterior(torch.nn.Linear(5, CodePosterior.n_outputs(2)), 2)
    >>> posterior(torch.zeros(3, 5)).rsample().shape
    torch.Size([3, 2])
    """

    center: Tensor
    scale: Tensor
    encoding: Any

    def __init__(
        self,
        network: nn.Module,
        n_components: int,
        *,
        flow: str | None = None,
        n_flows: int = 2,
        center: Tensor | None = None,
        scale: Tensor | None = None,
        encoding: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.encoding = encoding
        self.n_components = n_components
        self.flows = nn.ModuleList()
        if flow is not None:
            self.flows.extend(_make_flow(flow, n_components) for _ in range(n_flows))
        self.is_scaled = center is not None
        if self.is_scaled:
            self.register_buffer("center", center)
            self.register_buffer("scale", scale)
        self.register_buffer("reversal", torch.arange(n_components - 1, -1, -1), persistent=False)

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if "encoding" not in self._modules:  # of a file of an earlier version
            self.encoding = None

    @staticmethod
    def n_outputs(n_components: int, flow: str | None = None) -> int:
        """Return the number of outputs that the network must have."""
        n_moments = 2 * n_components
        return n_moments if flow is None else n_moments + N_CONTEXT

    def forward(self, X: Tensor) -> Any:
        """Return the distribution of codes for rows (n, d), of event shape (n_components,)."""
        outputs = self._outputs(X)
        base = self._base(outputs)
        if not len(self.flows):
            return base
        context = outputs[..., 2 * self.n_components :]
        steps: list = [flow.condition(context) for flow in self.flows]  # type: ignore[operator]
        # An autoregressive flow leaves the first dimension nearly untouched: reverse in between.
        for k in range(len(steps) - 1, 0, -1):
            steps.insert(k, transforms.Permute(self.reversal))
        return dist.TransformedDistribution(base, steps)

    def base(self, scaled: Tensor) -> Any:
        """Return the Gaussian of rows (n, d) that are `scaled` already, without the flows."""
        return self._base(self.network(scaled))

    def scaled(self, X: Tensor) -> Tensor:
        """Return rows (n, d) centred and scaled, or encoded, as the network sees them."""
        if self.encoding is not None:
            return encoded(self.encoding, X)
        if self.is_scaled:
            return (X - self.center) / self.scale
        return X

    def moments(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations (n, n_components) of the Gaussian, unvalidated."""
        return self._moments(self._outputs(X))

    def _outputs(self, X: Tensor) -> Tensor:
        return self.network(self.scaled(X))

    def _base(self, outputs: Tensor) -> Any:
        return dist.Normal(*self._moments(outputs)).to_event(1)

    def _moments(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        k = self.n_components
        return outputs[..., :k], nn.functional.softplus(outputs[..., k : 2 * k]) + SMALLEST_SCALE


class StandardNormalCodes(nn.Module):
    """Standard Gaussian prior.

    Parameters
    ----------
    n_components : int
        Size of a code.

    Examples
    --------
    >>> import torch
    >>> StandardNormalCodes(2)().log_prob(torch.zeros(2)).exp().item()  # 1 / (2 pi)
    0.1591...
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_components: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_components), persistent=False)
        self.register_buffer("scale", torch.ones(n_components), persistent=False)

    def forward(self) -> Any:
        """Return the distribution of a code."""
        return dist.Normal(self.mean, self.scale).to_event(1)


class GaussianMixtureCodes(nn.Module):
    """Prior that is a learned mixture of Gaussians with diagonal covariances.

    Parameters
    ----------
    n_components : int
        Size of a code.
    n_mixture : int
        Number of Gaussians.

    Examples
    --------
    >>> prior = GaussianMixtureCodes(2, 5)
    >>> prior().batch_shape, prior().event_shape
    (torch.Size([]), torch.Size([2]))
    """

    def __init__(self, n_components: int, n_mixture: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_mixture))
        self.means = nn.Parameter(torch.randn(n_mixture, n_components))
        self.log_scales = nn.Parameter(torch.zeros(n_mixture, n_components))

    def forward(self) -> Any:
        """Return the distribution of a code."""
        return _mixture(self.logits, self.means, torch.exp(self.log_scales))


class PosteriorMixtureCodes(nn.Module):
    """Prior that is a mixture of the posteriors of learned pseudo-inputs, the VampPrior [1]_.

    Where the posterior has flows, the mixture is of the Gaussians below the flows.

    Parameters
    ----------
    posterior : CodePosterior
        The posterior of the guide, which is shared.
    pseudo_inputs : Tensor of shape (n_mixture, d)
        Initial pseudo-inputs, such as rows.

    References
    ----------
    .. [1] J. M. Tomczak and M. Welling, VAE with a VampPrior, 2018.
    """

    is_scaled = False  # in files of format 1, pseudo-inputs are in units of X

    def __init__(self, posterior: CodePosterior, pseudo_inputs: Tensor) -> None:
        super().__init__()
        self.posterior = posterior
        # Scaled, so that steps of training are relative to the features whatever their units are.
        self.is_scaled = True
        self.pseudo_inputs = nn.Parameter(posterior.scaled(pseudo_inputs).clone())
        self.logits = nn.Parameter(torch.zeros(len(pseudo_inputs)))

    def forward(self) -> Any:
        """Return the distribution of a code."""
        inputs = self.pseudo_inputs
        if not self.is_scaled:
            inputs = self.posterior.scaled(inputs)
        components = self.posterior.base(inputs).base_dist
        return _mixture(self.logits, components.loc, components.scale)


def encoded(encoding: Any, X: Tensor) -> Tensor:
    """Return rows (..., d) with their first `encoding.n_features` numbers encoded."""
    n_features = encoding.n_features
    return torch.cat([encoding.encode(X[..., :n_features]), X[..., n_features:]], dim=-1)


def concat_labels(rows: Tensor, *labels: Tensor) -> Tensor:
    """Return rows (..., d) followed by labels (..., k), with their other dimensions broadcast.

    Parameters
    ----------
    rows : Tensor of shape (..., d)
    *labels : Tensor of shape (..., k)

    Returns
    -------
    rows : Tensor of shape (..., d + k)
        The rows themselves where there are no labels.
    """
    if not labels:
        return rows
    shape = torch.broadcast_shapes(*[part.shape[:-1] for part in (rows, *labels)])
    return torch.cat([part.expand(*shape, -1) for part in (rows, *labels)], dim=-1)


def _mixture(logits: Tensor, means: Tensor, scales: Tensor) -> Any:
    return dist.MixtureSameFamily(
        dist.Categorical(logits=logits), dist.Normal(means, scales).to_event(1)
    )


def _make_flow(kind: str, n_components: int) -> Any:
    """A transform of codes that can be conditioned on a context (n, N_CONTEXT)."""
    hidden = [max(FLOW_WIDTH, n_components)]
    if kind == "iaf":
        network = ConditionalAutoRegressiveNN(n_components, N_CONTEXT, hidden)
        return transforms.ConditionalAffineAutoregressive(network, stable=True)
    sizes = [SPLINE_BINS, SPLINE_BINS, SPLINE_BINS - 1]
    network = ConditionalAutoRegressiveNN(n_components, N_CONTEXT, hidden, param_dims=sizes)
    return transforms.ConditionalSplineAutoregressive(
        n_components, network, count_bins=SPLINE_BINS, bound=SPLINE_BOUND, order="quadratic"
    )
