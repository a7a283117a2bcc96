"""Draws by inversion of distribution functions: a uniform number for each feature makes its value.

The same numbers make the same rows in whatever order, and however often, features are computed.
Features may be known, or held to intervals and sets.
"""

from typing import Any

import torch

from probgen.distributions.quantiles import (
    level_quantile,
    mixture_arrays,
    normal_mixture_log_mass,
    normal_mixture_quantile,
    quantile,
)


class Chooser:
    """Values of the features of rows, from uniform numbers and within what is known.

    Parameters
    ----------
    observation : ObservationModel
        What answers of a network say of features.
    uniforms : double Tensor of shape (n, d)
        In [0, 1).
    evidence : Evidence, default=None
        What is known of rows; None is nothing.
    rows : int64 ndarray of shape (n,), default=None
        Which of the rows of the evidence those of the uniforms are; None takes them in order.

    Examples
    --------
    >>> import torch
    >>> from probgen.distributions.observation import BernoulliObservation
    >>> uniforms = torch.tensor([[0.2, 0.7], [0.6, 0.4]], dtype=torch.float64)
    >>> choose = Chooser(BernoulliObservation(), uniforms)
    >>> choose(torch.zeros(2, 2))
    tensor([[0., 1.],
            [1., 0.]])
    """

    def __init__(self, observation, uniforms, evidence=None, rows=None):
        self.observation, self.uniforms = observation, uniforms
        self.has_evidence = evidence is not None
        if evidence is None:
            return
        device = uniforms.device
        self.rows = torch.arange(len(uniforms)) if rows is None else torch.as_tensor(rows)
        self.rows = self.rows.to(device)
        self.known, self.low, self.high = (
            torch.as_tensor(array, device=device)
            for array in (evidence.values, evidence.low, evidence.high)
        )
        allowed = evidence.allowed
        self.allowed: Any = allowed if allowed is None else torch.as_tensor(allowed, device=device)
        self.bounded = torch.as_tensor(evidence.bounded)
        self.slots = torch.full(
            (uniforms.shape[1],), -1
        )  # of features among those that are bounded
        self.slots[self.bounded] = torch.arange(len(self.bounded))

    def __len__(self):
        return len(self.uniforms)

    def take(self, index):
        """Return the chooser of some rows, an int64 Tensor."""
        twin = object.__new__(Chooser)
        twin.__dict__.update(vars(self))
        twin.uniforms = self.uniforms[index]
        if self.has_evidence:
            twin.rows = self.rows[index]
        return twin

    def __call__(self, answers, features=slice(None)):
        """Return values of features.

        Parameters
        ----------
        answers : Tensor of shape (n, m * n_outputs_per_feature)
            What the network says of these features.
        features : slice or int64 Tensor of shape (m,), default=slice(None)
            Which they are.

        Returns
        -------
        values : Tensor of shape (n, m)
            Of the dtype of the answers; those that are known as they are.
        """
        values = quantile(self.observation.distribution(answers), self.uniforms[:, features])
        if self.has_evidence:
            if len(self.bounded):
                self._bound(values, answers, features)
            known = self.known[:, features][self.rows]
            values = torch.where(known.isnan(), values, known)
        return values.to(answers.dtype)

    def log_weights(self, answers, X):
        """Return the log-probability of what is known, each feature given those before it.

        Parameters
        ----------
        answers : Tensor of shape (n, d * n_outputs_per_feature)
        X : Tensor of shape (n, d)
            Rows that were chosen.

        Returns
        -------
        log_weights : double Tensor of shape (n,)
            Log-densities of values, log-probabilities of intervals and sets, added up.
        """
        is_known = ~self.known[self.rows].isnan()
        log_prob = self.observation.distribution(answers).log_prob(X).double()
        total = torch.where(is_known, log_prob, 0.0).sum(1)
        if len(self.bounded):
            masses = self._log_masses(answers)
            total += torch.where(is_known[:, self.bounded.to(X.device)], 0.0, masses).sum(1)
        return total

    def _bound(self, values, answers, features):
        """Put values within their intervals and sets in place."""
        slots = self.slots[features if isinstance(features, slice) else features.cpu()]
        inside = torch.nonzero(slots >= 0)[:, 0]
        if not len(inside):
            return
        slots = slots[inside]
        inside = inside.to(values.device)
        uniforms = self.uniforms[:, features][:, inside]
        if self.allowed is not None:
            table = self._table(answers, inside)
            allowed = self.allowed[:, slots.to(values.device)][self.rows]
            values[:, inside] = level_quantile(table, allowed, uniforms)
        else:
            low, high = self._ends(slots)
            mixture = mixture_arrays(self.observation.distribution(answers), inside)
            drawn = normal_mixture_quantile(uniforms.cpu().numpy(), low, high, *mixture)
            values[:, inside] = torch.as_tensor(drawn, device=values.device)

    def _log_masses(self, answers):
        """Log-probabilities (n, n_bounded) of intervals and sets."""
        bounded = self.bounded.to(answers.device)
        if self.allowed is not None:
            table = self._table(answers, bounded)
            return torch.where(self.allowed[self.rows], table, -torch.inf).logsumexp(-1)
        mixture = mixture_arrays(self.observation.distribution(answers), bounded)
        masses = normal_mixture_log_mass(*self._ends(torch.arange(len(bounded))), *mixture)
        return torch.as_tensor(masses, device=answers.device)

    def _ends(self, slots):
        """Lower and upper ends (n, k) of bounded features, as arrays."""
        chosen = self.bounded[slots].to(self.low.device)
        return (ends[:, chosen][self.rows].cpu().numpy() for ends in (self.low, self.high))

    def _table(self, answers, inside):
        """Log-probabilities (n, k, n_levels) of all levels of features among those that were
        answered."""
        by_feature = answers.unflatten(-1, (-1, self.observation.n_outputs_per_feature))
        answers = by_feature[:, inside].flatten(-2)
        levels = torch.arange(self.allowed.shape[-1], device=answers.device, dtype=answers.dtype)
        table = (
            self.observation.distribution(answers).log_prob(levels[:, None, None]).movedim(0, -1)
        )
        return table.double().log_softmax(-1)
