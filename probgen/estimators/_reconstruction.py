"""The loss that trains an autoencoder: reconstruction of damaged rows, and a penalty on codes."""

from typing import Any

import numpy as np
import torch

from probgen.networks import uses_global_generator
from probgen.options import (
    L1,
    Contractive,
    GaussianCorruption,
    KLSparsity,
    MaskingCorruption,
    Option,
)
from probgen.training.objective import Objective


class ReconstructionObjective(Objective):
    """Reconstruction loss of corrupted rows, and a penalty on their codes.

    Parameters
    ----------
    encoder, decoder : torch.nn.Module
        On scaled rows.
    center : Tensor of shape (n_features,)
    scale : Tensor of shape (n_features,), or float
        The networks work on rows (X - center) / scale. With one scale for all features, corruption
        is in units of X, and masked values are 0; else they are in units of the feature, about its
        center.
    loss : {"squared_error", "absolute_error", "bernoulli"}, default="squared_error"
    corruption : Option, optional
        Damage to the encoder's inputs in training, an option of `Autoencoder`.
    extremes : tuple of float or of ndarray (n_features,), default=(0.0, 1.0)
        Values of pepper and of salt.
    penalty : Option, optional
        Of the codes, an option of `Autoencoder`.
    """

    center: torch.Tensor
    scale: torch.Tensor
    extremes: torch.Tensor

    def __init__(
        self,
        encoder: torch.nn.Module,
        decoder: torch.nn.Module,
        *,
        center: torch.Tensor,
        scale: torch.Tensor | float,
        loss: str = "squared_error",
        corruption: Option | None = None,
        extremes: tuple[Any, Any] = (0.0, 1.0),
        penalty: Any = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.loss_kind = loss
        self.corruption = corruption
        self.penalty = penalty
        self.register_buffer("center", center, persistent=False)
        self.register_buffer("scale", torch.as_tensor(scale).to(center), persistent=False)
        extremes_array = np.array(extremes)
        self.register_buffer("extremes", center.new_tensor(extremes_array), persistent=False)
        self.draws_globally = uses_global_generator(encoder) or uses_global_generator(decoder)

    def loss(self, X: torch.Tensor, *_: Any) -> Any:
        """Mean reconstruction loss of a batch, with the penalty and both terms if there is one."""
        inputs = (self._corrupt(X) - self.center) / self.scale
        if isinstance(self.penalty, Contractive):
            # Gradients make this penalty, also in validation, which runs without them.
            with torch.enable_grad():
                inputs = inputs.detach().requires_grad_()
                code = self.encoder(inputs)
                penalty = self._contraction(inputs, code)
        else:
            code = self.encoder(inputs)
            penalty = self._code_penalty(code)
        target = X
        if self.loss_kind != "bernoulli":
            target = (X - self.center) / self.scale
        reconstruction = row_loss(self.loss_kind, target, self.decoder(code)).mean()
        if penalty is None:
            return reconstruction
        terms = {"reconstruction": reconstruction.detach(), "penalty": penalty.detach()}
        return reconstruction + self.penalty.weight * penalty, terms

    def _corrupt(self, X: torch.Tensor) -> torch.Tensor:
        """Rows with the damage that the encoder has to undo in training."""
        if self.corruption is None or not self.training:
            return X
        if isinstance(self.corruption, GaussianCorruption):
            deviation = self.corruption.scale
            if self.scale.ndim:
                deviation = deviation * self.scale
            return X + deviation * torch.empty_like(X).normal_(generator=self.noise)
        uniform = torch.empty_like(X).uniform_(generator=self.noise)
        is_replaced = uniform < self.corruption.fraction
        if isinstance(self.corruption, MaskingCorruption):
            if self.scale.ndim:
                return torch.where(is_replaced, self.center, X)
            return X.masked_fill(is_replaced, 0.0)
        is_salt = torch.empty_like(X).uniform_(generator=self.noise) < 0.5
        pepper, salt = self.extremes
        return torch.where(is_replaced, torch.where(is_salt, salt, pepper), X)

    def _code_penalty(self, code: torch.Tensor) -> torch.Tensor | None:
        """Penalty on codes (n, k), or None."""
        if isinstance(self.penalty, L1):
            return code.abs().sum(1).mean()
        if isinstance(self.penalty, KLSparsity):
            # KL divergence of Bernoulli variables with the target and the mean activities.
            target = self.penalty.target
            activity = code.mean(0).clamp(1e-6, 1.0 - 1e-6)
            inactive = (1.0 - target) * torch.log((1.0 - target) / (1.0 - activity))
            return (target * torch.log(target / activity) + inactive).sum()
        return None

    def _contraction(self, inputs: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """An unbiased estimate of the mean squared Frobenius norm of the encoder's Jacobian J.

        For standard normal u, E |J' u|^2 is the squared Frobenius norm of J.
        """
        direction = torch.empty_like(code).normal_(generator=self.noise)
        (gradient,) = torch.autograd.grad((code * direction).sum(), inputs, create_graph=True)
        return gradient.square().sum(1).mean()


def row_loss(kind: str, X: torch.Tensor, outputs: torch.Tensor) -> torch.Tensor:
    """Loss (n,) of rows (n, d) and outputs of the decoder, averaged over the features."""
    if kind == "squared_error":
        return (X - outputs).square().mean(1)
    if kind == "absolute_error":
        return (X - outputs).abs().mean(1)
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
    return cross_entropy(outputs, X, reduction="none").mean(1)
