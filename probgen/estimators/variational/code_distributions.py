"""Densities of codes: priors, and posteriors that a network gives for a row. They are Pyro's
distributions."""

import pyro.distributions as dist
import torch
from pyro.distributions import transforms
from pyro.nn import ConditionalAutoRegressiveNN
from torch import nn

SMALLEST_SCALE = 1e-6
FLOWS = ("iaf", "spline")
CONTEXT, FLOW_WIDTH = 32, 128  # what a flow is told of the row, and the width of its networks
SPLINE_BINS, SPLINE_BOUND = 8, 5.0


class GaussianPosterior(nn.Module):
    """Gaussian of independent dimensions that a network gives for a row, perhaps moved by
    normalizing flows.

    Parameters
    ----------
    network : torch.nn.Module
        From (n, d) to (n, n_outputs), see `n_outputs`.
    n_components : int
    flow : {"iaf", "spline"}, default=None
        Inverse autoregressive flows [1]_, or autoregressive rational splines [2]_, each told of the
        row.
    n_flows : int, default=2
    center, scale : default=None
        What is taken from the rows, of shape (d,), and what they are divided by, before the network
        sees them.

    References
    ----------
    .. [1] D. P. Kingma et al., Improving variational inference with inverse autoregressive flow,
       2016.
    .. [2] C. Durkan et al., Neural spline flows, 2019.

    Examples
    --------
    >>> import torch
    >>> posterior = GaussianPosterior(torch.nn.Linear(5, GaussianPosterior.n_outputs(2)), 2)
    >>> posterior(torch.zeros(3, 5)).rsample().shape
    torch.Size([3, 2])
    """

    def __init__(self, network, n_components, *, flow=None, n_flows=2, center=None, scale=None):
        super().__init__()
        self.network, self.n_components = network, n_components
        self.flows = nn.ModuleList(
            _make_flow(flow, n_components) for _ in range(n_flows if flow else 0)
        )
        self.is_scaled = center is not None
        if self.is_scaled:
            self.register_buffer("center", center)
            self.register_buffer("scale", scale)
        self.register_buffer("reversal", torch.arange(n_components - 1, -1, -1), persistent=False)

    @staticmethod
    def n_outputs(n_components, flow=None):
        """Width of the answers of the network."""
        return 2 * n_components + (CONTEXT if flow else 0)

    def forward(self, X):
        """The distribution of codes for rows (n, d): batch shape (n,), event shape
        (n_components,)."""
        answers = self._answers(X)
        base = self._base(answers)
        if not len(self.flows):
            return base
        context = answers[..., 2 * self.n_components :]
        steps: list = [flow.condition(context) for flow in self.flows]  # type: ignore[operator]
        for k in range(len(steps) - 1, 0, -1):
            steps.insert(k, transforms.Permute(self.reversal))
        return dist.TransformedDistribution(base, steps)

    def base(self, X):
        """The distribution without its flows."""
        return self._base(self._answers(X))

    def moments(self, X):
        """Means and standard deviations (n, n_components) of that, two tensors that nobody has
        checked."""
        return self._moments(self._answers(X))

    def _answers(self, X):
        return self.network((X - self.center) / self.scale if self.is_scaled else X)

    def _base(self, answers):
        return dist.Normal(*self._moments(answers)).to_event(1)

    def _moments(self, answers):
        k = self.n_components
        return answers[..., :k], nn.functional.softplus(answers[..., k : 2 * k]) + SMALLEST_SCALE


class NormalPrior(nn.Module):
    """Standard Gaussian.

    Parameters
    ----------
    n_components : int

    Examples
    --------
    >>> import torch
    >>> NormalPrior(2)().log_prob(torch.zeros(2)).exp().item()  # 1 / (2 pi)
    0.1591...
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, n_components):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_components), persistent=False)
        self.register_buffer("scale", torch.ones(n_components), persistent=False)

    def forward(self):
        """The distribution of a code."""
        return dist.Normal(self.mean, self.scale).to_event(1)


class MixturePrior(nn.Module):
    """Mixture of Gaussians of independent dimensions, which is learned.

    Parameters
    ----------
    n_components : int
        Size of a code.
    n_mixed : int
        Gaussians.

    Examples
    --------
    >>> MixturePrior(2, 5)().batch_shape, MixturePrior(2, 5)().event_shape
    (torch.Size([]), torch.Size([2]))
    """

    def __init__(self, n_components, n_mixed):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_mixed))
        self.means = nn.Parameter(torch.randn(n_mixed, n_components))
        self.log_scales = nn.Parameter(torch.zeros(n_mixed, n_components))

    def forward(self):
        """The distribution of a code."""
        return _mixture(self.logits, self.means, torch.exp(self.log_scales))


class VampPrior(nn.Module):
    """Mixture of the posteriors of learned pseudo-inputs [1]_, of their Gaussians where they have
    flows.

    Parameters
    ----------
    posterior : GaussianPosterior
        Shared with the guide.
    pseudo_inputs : Tensor of shape (n_mixed, d)
        To start from, such as rows.

    References
    ----------
    .. [1] J. M. Tomczak and M. Welling, VAE with a VampPrior, 2018.
    """

    def __init__(self, posterior, pseudo_inputs):
        super().__init__()
        self.posterior = posterior
        self.pseudo_inputs = nn.Parameter(pseudo_inputs.clone())
        self.logits = nn.Parameter(torch.zeros(len(pseudo_inputs)))

    def forward(self):
        """The distribution of a code."""
        parts = self.posterior.base(self.pseudo_inputs).base_dist
        return _mixture(self.logits, parts.loc, parts.scale)


def beside(rows, *labels):
    """Rows (..., d) and labels (..., k) side by side, their other dimensions broadcast; rows alone
    without labels."""
    if not labels:
        return rows
    shape = torch.broadcast_shapes(*[part.shape[:-1] for part in (rows, *labels)])
    return torch.cat([part.expand(*shape, -1) for part in (rows, *labels)], dim=-1)


def _mixture(logits, means, scales):
    return dist.MixtureSameFamily(
        dist.Categorical(logits=logits), dist.Normal(means, scales).to_event(1)
    )


def _make_flow(kind, n_components):
    """A transform of codes that can be conditioned on a context (n, CONTEXT)."""
    hidden = [max(FLOW_WIDTH, n_components)]
    if kind == "iaf":
        network = ConditionalAutoRegressiveNN(n_components, CONTEXT, hidden)
        return transforms.ConditionalAffineAutoregressive(network, stable=True)
    sizes = [SPLINE_BINS, SPLINE_BINS, SPLINE_BINS - 1]
    network = ConditionalAutoRegressiveNN(n_components, CONTEXT, hidden, param_dims=sizes)
    return transforms.ConditionalSplineAutoregressive(
        n_components, network, count_bins=SPLINE_BINS, bound=SPLINE_BOUND, order="quadratic"
    )
