"""Autoencoders: plain, denoising, sparse, contractive and tied, dense and convolutional, in one
class."""

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from probgen._validation import (
    check_choice,
    check_count,
    check_generator,
    check_hidden_layer_sizes,
    check_image_shape,
    check_real,
)
from probgen.base import DecoderMixin, Likelihood
from probgen.distributions.observation import bernoulli_log_prob, gaussian_log_prob
from probgen.estimators._code_density import CodeGenerator, FittedCodeDensity, latest_rows
from probgen.marginal_likelihood.importance import log_likelihood
from probgen.networks import (
    MLP,
    ConvDecoder,
    ConvEncoder,
    TiedMLP,
    activation,
    check_module,
    check_network,
    uses_global_generator,
)
from probgen.training.objective import Objective
from probgen.training.rows import open_rows

LOSSES = ("squared_error", "absolute_error", "bernoulli")
CORRUPTIONS = ("gaussian", "masking", "salt_and_pepper")
PENALTIES = ("kl_sparsity", "l1", "contractive")
ARCHITECTURES = ("mlp", "conv")
READ_ROWS = 8192  # rows of a block that is read
CODED_BLOCK = 1024  # rows of a block that is encoded
CODED_ROWS = 50_000  # rows whose codes the latent density is fitted to, at most
KEPT_ROWS = 2048  # latest rows of partial_fit, which gets few at a time
LEAST_HELD_OUT = 10  # rows on which a noise can be fitted
NOISE_FLOOR = 1e-6  # share of the overall variance: exactly decoded columns need a density too
SHRINKAGES = (0.0, *np.logspace(-5.0, 0.0, 11))  # candidate weights of the mean noise variance


class Autoencoder(DecoderMixin, FittedCodeDensity, CodeGenerator):
    """Autoencoder, with a density on its codes.

    An encoder maps a row x to a code z = f(x) of n_components numbers, a decoder g maps it back,
    and both are trained to make g(f(x)) like x. After that, `latent_density` is fitted to the codes
    and a noise to what g leaves of held-out rows, which makes a generator: z from the density, x =
    g(z) and noise. The variants are parameters, so that one grid search goes over all: a denoising
    autoencoder (`corruption`), which has to restore rows from damaged copies [1]_; a sparse one
    (`penalty="kl_sparsity"` or "l1") [2]_; a contractive one [3]_; one with tied weights.

    Rows are centred and divided by one overall scale inside, so that the units of X do not matter.

    Parameters
    ----------
    n_components : int, default=16
        Size of the code, at least 1.
    hidden_layer_sizes : sequence of int, default=(256,)
        Widths of the encoder's hidden layers, in the decoder reversed; () is a linear autoencoder.
        With architecture="conv" the channels of its layers, each of which halves the height and the
        width.
    activation : str, default="relu"
        Of the hidden layers: "relu", "tanh", "logistic", "identity", "leaky_relu", "elu", "selu",
        "gelu", "silu" or "softplus", or a class of torch.nn.
    architecture : {"mlp", "conv"}, default="mlp"
        Dense or convolutional networks.
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels) of the images in the rows, channels last, for
        convolutions. None reads a perfect square of features as a grey image.
    encoder, decoder : torch.nn.Module, default=None
        Networks of your own in place of those; templates that fit copies, each alone, so that they
        cannot share weights, from (n, n_features) to (n, n_components) and back. They see scaled
        rows.
    tied_weights : bool, default=False
        Whether the decoder's weights are those of the encoder transposed; for "mlp".
    loss : {"squared_error", "absolute_error", "bernoulli"}, default="squared_error"
        "absolute_error" gives sharper pictures; "bernoulli", the cross-entropy, is for values in
        [0, 1].
    corruption : {"gaussian", "masking", "salt_and_pepper"}, default=None
        Damage done to the rows that the encoder sees in training.
    corruption_level : float, default=0.3
        Standard deviation of "gaussian" noise in units of X, at least 0; share of features set to 0
        by "masking", or to the smallest or largest value of X by "salt_and_pepper", in [0, 1].
    penalty : {"kl_sparsity", "l1", "contractive"}, default=None
        Added to the loss. "kl_sparsity" is the divergence of the mean activity of each unit of a
        logistic code from sparsity_target; "l1" the mean size of the code; "contractive" the
        squared Frobenius norm of the encoder's Jacobian, estimated along one random direction a
        row.
    penalty_weight : float, default=1e-3
        Factor on the penalty, at least 0. The loss beside it is a mean over features, of scaled
        rows.
    sparsity_target : float, default=0.05
        Wanted mean activity of a unit, in (0, 1).
    latent_density : generator, default=None
        Density of the codes, cloned; None is a GaussianMixture of at most 10 components.
    noise_fraction : float, default=0.1
        Share of the rows kept out of the training to fit the noise on, in [0, 1); with
        early_stopping the rows held out for that serve. With 0, or fewer than 100 rows, it is
        fitted on the training rows and comes out too small.
    n_importance_samples : int, default=128
        Draws for each row in `score_samples`, at least 4: more tighten the estimate.
    max_iter : int, default=50
        Epochs.
    batch_size : int or "auto", default="auto"
        Rows of a batch; "auto" takes 32 to 256, a hundredth of the rows.
    learning_rate_init : float, default=1e-3
        Learning rate at the start.
    trainer : Trainer, default=None
        All else of the training; None is `Trainer()`.
    warm_start : bool, default=False
        Whether a further fit goes on from the last one.
    device : {"auto", "cpu", "cuda"} or str such as "cuda:1", default="auto"
        Where to compute.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the fit and the stream of later draws.
    verbose : int, default=0
        Whether to show a progress bar.

    Attributes
    ----------
    encoder_, decoder_ : torch.nn.Module
        The trained networks, on scaled rows.
    latent_density_ : estimator object
        The fitted density of codes.
    noise_variance_ : ndarray of shape (n_features,)
        Of the Gaussian observation model, in squared units of X, shrunk towards their mean as far
        as held-out rows gain by it; None for a Bernoulli model.
    observation_ : {"gaussian", "bernoulli"}
        "bernoulli" with loss="bernoulli" on rows of 0 and 1.
    history_ : History
        Per epoch: "loss" and its parts, validation score, learning rate, seconds.
    n_iter_ : int
        Epochs that were trained.
    device_ : str
        Where the networks are.

    Notes
    -----
    `score_samples` estimates log p(x), p(x) = integral of p(x given z) p(z) dz, by importance
    sampling about the mode of the posterior of z, with the same quasi-random draws for every row.
    On average it lies a little below; `return_std=True` gives its standard error. For
    loss="absolute_error" and for "bernoulli" on grey values the observation model is Gaussian all
    the same. `partial_fit` keeps the centre and the scale of its first rows, and fits the density
    of codes and the noise to the last 2048 rows.

    References
    ----------
    .. [1] P. Vincent et al., Extracting and composing robust features with denoising autoencoders,
       2008.
    .. [2] A. Ng, Sparse autoencoder, CS294A lecture notes, 2011.
    .. [3] S. Rifai et al., Contractive auto-encoders: explicit invariance during feature
       extraction, 2011.

    Examples
    --------
    >>> from probgen import Autoencoder
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data
    >>> model = Autoencoder(n_components=8, max_iter=5, random_state=0).fit(X)
    >>> model.transform(X).shape, model.reconstruct(X).shape, model.sample(3).shape
    ((1797, 8), (1797, 64), (3, 64))
    """

    _networks = ("encoder_", "decoder_")
    _kept: np.ndarray

    def __init__(
        self,
        n_components=16,
        *,
        hidden_layer_sizes=(256,),
        activation="relu",
        architecture="mlp",
        image_shape=None,
        encoder=None,
        decoder=None,
        tied_weights=False,
        loss="squared_error",
        corruption=None,
        corruption_level=0.3,
        penalty=None,
        penalty_weight=1e-3,
        sparsity_target=0.05,
        latent_density=None,
        noise_fraction=0.1,
        n_importance_samples=128,
        max_iter=50,
        batch_size="auto",
        learning_rate_init=1e-3,
        trainer=None,
        warm_start=False,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.architecture = architecture
        self.image_shape = image_shape
        self.encoder = encoder
        self.decoder = decoder
        self.tied_weights = tied_weights
        self.loss = loss
        self.corruption = corruption
        self.corruption_level = corruption_level
        self.penalty = penalty
        self.penalty_weight = penalty_weight
        self.sparsity_target = sparsity_target
        self.latent_density = latent_density
        self.noise_fraction = noise_fraction
        self.n_importance_samples = n_importance_samples
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.trainer = trainer
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def sample_mean(self, n_samples=1, *, random_state=None):
        """Draw codes and return what they decode to, without the noise of the observation model.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows, at least 1.
        random_state : int, RandomState, Generator or None, default=None
            As in `sample`; the codes are those of `sample` with the same seed.

        Returns
        -------
        X : ndarray or frame of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples, low=1)
        generator = self._stream if random_state is None else check_generator(random_state)
        means = self._inverse_transform(self._draw_codes(n_samples, generator))
        return self._in_container(means.astype(self._dtype, copy=False))

    def reconstruct(self, X):
        """Return what the codes of the rows of X decode to, of shape (n, n_features)."""
        check_is_fitted(self)
        X = self._validate(X)
        return self._in_container(self._reconstruct(X).astype(X.dtype, copy=False))

    def reconstruction_error(self, X):
        """Return the loss of each row and its reconstruction, averaged over the features.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows; high errors are a sign of anomalies.

        Returns
        -------
        error : ndarray of shape (n,)
            In squared units of X, in units of X, or in nats, as the loss has it.
        """
        check_is_fitted(self)
        X = self._validate(X)

        def error(block):
            return _row_loss(self.loss, block, self._decoder_outputs(self._encode(block)))

        return self._in_blocks(X, error).astype(X.dtype, copy=False)

    @property
    def _likelihood(self):
        is_discrete = getattr(self, "observation_", self.loss) == "bernoulli"
        return Likelihood("estimate", "counting" if is_discrete else "lebesgue")

    @property
    def _n_features_out(self):
        return self.n_components

    def _check_parameters(self):
        super()._check_parameters()
        check_count("n_components", self.n_components)
        check_hidden_layer_sizes(self.hidden_layer_sizes)
        activation(self.activation)
        check_choice("architecture", self.architecture, ARCHITECTURES)
        check_choice("loss", self.loss, LOSSES)
        if self.corruption is not None:
            check_choice("corruption", self.corruption, CORRUPTIONS)
        most = np.inf if self.corruption == "gaussian" else 1.0
        check_real("corruption_level", self.corruption_level, low=0.0, high=most)
        if self.penalty is not None:
            check_choice("penalty", self.penalty, PENALTIES)
        check_real("penalty_weight", self.penalty_weight, low=0.0)
        check_real("noise_fraction", self.noise_fraction, low=0.0, high=0.99)
        check_real("sparsity_target", self.sparsity_target, low=1e-6, high=1.0 - 1e-6)
        check_count("n_importance_samples", self.n_importance_samples, low=4)
        check_module("encoder", self.encoder)
        check_module("decoder", self.decoder)
        dense = self.architecture == "mlp" and self.encoder is None and self.decoder is None
        if self.tied_weights and not dense:
            raise ValueError(
                "tied_weights=True needs architecture='mlp' and no networks of your own; leave it"
                " out."
            )

    def _hold_out(self, rows, trainer, rng):
        fraction = trainer.validation_fraction if trainer.early_stopping else self.noise_fraction
        if not trainer.early_stopping and round(fraction * rows.n_rows) < LEAST_HELD_OUT:
            return rows, None
        return rows.split(fraction, rng)

    def _build(self, fit):
        self._take_statistics(fit.statistics)
        d, k = fit.rows.n_features, self.n_components
        hidden = tuple(self.hidden_layer_sizes)
        is_image = self.architecture == "conv" and (self.encoder is None or self.decoder is None)
        shape = (
            check_image_shape(self.image_shape, d)
            if is_image or self.image_shape is not None
            else None
        )
        dtype = fit.rows.dtype
        if self.encoder is not None:
            self.encoder_ = check_network(self.encoder, d, k, "encoder", dtype=dtype)
        elif is_image:
            self.encoder_ = ConvEncoder(shape, hidden, k, self.activation)
        else:
            self.encoder_ = MLP(d, hidden, k, self.activation)
        if self.decoder is not None:
            self.decoder_ = check_network(self.decoder, k, d, "decoder", dtype=dtype)
        elif is_image:
            self.decoder_ = ConvDecoder(k, hidden[::-1], shape, self.activation)
        elif self.tied_weights:
            self.decoder_ = TiedMLP(self.encoder_, self.activation)
        else:
            self.decoder_ = MLP(k, hidden[::-1], d, self.activation)
        if self.penalty == "kl_sparsity":
            self.encoder_ = torch.nn.Sequential(self.encoder_, torch.nn.Sigmoid())
        self.encoder_.to(dtype), self.decoder_.to(dtype)

    def _take_statistics(self, found):
        """Set centre, scale and range of the rows."""
        if self.loss == "bernoulli" and not (found.low >= 0.0 and found.high <= 1.0):
            raise ValueError(
                f"loss='bernoulli' needs values in [0, 1]; X holds {found.low:g} to {found.high:g};"
                " scale it, or take 'squared_error'."
            )
        self._mean, self._scale, self._range = found.mean, found.scale, (found.low, found.high)
        self.observation_ = (
            "bernoulli" if self.loss == "bernoulli" and found.is_binary else "gaussian"
        )

    def _make_objective(self, fit):
        return ReconstructionObjective(
            self.encoder_,
            self.decoder_,
            center=self._to_network_tensor(self._mean),
            scale=self._scale,
            loss=self.loss,
            corruption=self.corruption,
            corruption_level=self.corruption_level,
            extremes=self._range,
            penalty=self.penalty,
            penalty_weight=self.penalty_weight,
            sparsity_target=self.sparsity_target,
        )

    def _finish(self, fit, generator):
        """Fit the density of the codes and the noise, of the latest rows after partial_fit."""
        rows = fit.rows
        if fit.is_partial:
            blocks = [block.cpu().numpy() for block, *_ in rows.batches(None, READ_ROWS)]
            kept = getattr(self, "_kept", None)
            self._kept = latest_rows(kept, np.concatenate(blocks), KEPT_ROWS)
            rows = open_rows(self._kept, device=self.device_, dtype=rows.dtype)
        codes = self._codes_of(rows)
        self._fit_code_density(codes, generator)
        self._code_mean = codes.mean(axis=0)
        self._code_precision = _precision(codes)
        self.noise_variance_ = None
        if self.observation_ == "gaussian":
            noise_rows = rows if fit.held_out is None else fit.held_out
            self.noise_variance_ = self._residual_variance(noise_rows)

    @property
    def _code_moments(self):
        return self._code_mean, 1.0 / np.sqrt(np.diag(self._code_precision))

    def _codes_of(self, rows):
        """Codes (n, k) in double precision, of evenly spaced batches where there are many rows."""
        every = -(-rows.n_rows // CODED_ROWS)
        codes = []
        with torch.inference_mode():
            for index, (block, *_) in enumerate(rows.batches(None, CODED_BLOCK)):
                if index % every == 0:
                    codes.append(self._encode(block).double().cpu().numpy())
        return np.concatenate(codes)

    def _residual_variance(self, rows):
        """Mean squared residuals (n_features,) of reconstructions, shrunk to their mean."""
        squares = np.zeros((2, rows.n_features))  # sums over even and over odd rows
        with torch.inference_mode():
            for block, *_ in rows.batches(None, CODED_BLOCK):
                means = self._mean_of(self._decoder_outputs(self._encode(block)))
                residuals = (block - means).double().square()
                squares[0] += residuals[0::2].sum(0).cpu().numpy()
                squares[1] += residuals[1::2].sum(0).cpu().numpy()
        return _shrink(squares, rows.n_rows, NOISE_FLOOR * self._scale**2)

    def _encode(self, X):
        """Codes (n, k) of rows (n, d), both tensors."""
        return self.encoder_((X - self._to_network_tensor(self._mean)) / self._scale)

    def _decoder_outputs(self, codes):
        """Outputs (n, d) of the decoder for codes (n, k): logits, or means in units of X."""
        outputs = self.decoder_(codes)
        if self.loss == "bernoulli":
            return outputs
        return outputs * self._scale + self._to_network_tensor(self._mean)

    def _mean_of(self, outputs):
        """Means of rows from outputs of the decoder."""
        if self.loss == "bernoulli":
            return torch.sigmoid(outputs)
        return outputs

    def _transform(self, X):
        return self._in_blocks(X, self._encode)

    def _inverse_transform(self, Z):
        return self._in_blocks(Z, lambda codes: self._mean_of(self._decoder_outputs(codes)))

    def _reconstruct(self, X):
        return self._inverse_transform(self._transform(X))

    def _sample(self, n_samples, generator):
        means = self._inverse_transform(self._draw_codes(n_samples, generator))
        if self.observation_ == "bernoulli":
            return generator.random(means.shape) < means
        deviations = np.sqrt(np.asarray(self.noise_variance_))
        return means + deviations * generator.standard_normal(means.shape)

    def _estimate(self, X):
        prior = _CodePrior(self.latent_density_, self._code_mean, self._code_precision)
        log_prob = self._observation_log_prob()
        curvature = self._observation_curvature()

        def estimate(block):
            values, errors = log_likelihood(
                block,
                self._encode(block),
                self._decoder_outputs,
                log_prob,
                curvature,
                prior,
                n_samples=self.n_importance_samples,
            )
            return torch.from_numpy(np.stack([values, errors], axis=1))

        values, errors = self._in_blocks(X, estimate).T
        return values, errors

    def _observation_log_prob(self):
        """log p(x given z) as a function of rows and outputs of the decoder, both (..., d)."""
        if self.observation_ == "bernoulli":
            return bernoulli_log_prob
        variance = self._to_network_tensor(self.noise_variance_)
        return lambda rows, outputs: gaussian_log_prob(rows, self._mean_of(outputs), variance)

    def _observation_curvature(self):
        """Gradient and expected curvature of that function by the outputs, for the proposals."""
        if self.observation_ == "bernoulli":
            return _bernoulli_curvature
        variance = self._to_network_tensor(self.noise_variance_)

        def gaussian_curvature(rows, outputs):
            means = self._mean_of(outputs)
            slope = torch.ones_like(means)
            if self.loss == "bernoulli":
                slope = means * (1.0 - means)  # derivative of the logistic function
            return (rows - means) / variance * slope, slope.square() / variance

        return gaussian_curvature

    def _decode_chains(self, codes):
        return self._decoder_outputs(codes.flatten(0, 1)).unflatten(0, codes.shape[:2])


class ReconstructionObjective(Objective):
    """Reconstruction loss of corrupted rows, and a penalty on their codes.

    Parameters
    ----------
    encoder, decoder : torch.nn.Module
        On scaled rows.
    center : Tensor of shape (n_features,)
    scale : float
        The networks work on rows (X - center) / scale.
    loss : {"squared_error", "absolute_error", "bernoulli"}, default="squared_error"
    corruption : {"gaussian", "masking", "salt_and_pepper"}, optional
        Damage to the encoder's inputs in training.
    corruption_level : float, default=0.0
        Standard deviation of the noise, or share of the features that are replaced.
    extremes : tuple of float, default=(0.0, 1.0)
        Values of pepper and of salt.
    penalty : {"kl_sparsity", "l1", "contractive"}, optional
    penalty_weight : float, default=0.0
        Factor on the penalty.
    sparsity_target : float, default=0.05
        Mean activity at which the penalty "kl_sparsity" is 0.
    """

    center: torch.Tensor
    extremes: torch.Tensor

    def __init__(
        self,
        encoder,
        decoder,
        *,
        center,
        scale,
        loss="squared_error",
        corruption=None,
        corruption_level=0.0,
        extremes=(0.0, 1.0),
        penalty=None,
        penalty_weight=0.0,
        sparsity_target=0.05,
    ):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.scale = scale
        self.loss_kind = loss
        self.corruption = corruption
        self.corruption_level = corruption_level
        self.penalty = penalty
        self.penalty_weight = penalty_weight
        self.sparsity_target = sparsity_target
        self.register_buffer("center", center, persistent=False)
        self.register_buffer("extremes", center.new_tensor(extremes), persistent=False)
        self.draws_globally = uses_global_generator(encoder) or uses_global_generator(decoder)

    def loss(self, X, *_):
        """Mean reconstruction loss of a batch, with the penalty and both terms if there is one."""
        inputs = (self._corrupt(X) - self.center) / self.scale
        if self.penalty == "contractive":
            # Validation runs without gradients, which this penalty is made of.
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
        reconstruction = _row_loss(self.loss_kind, target, self.decoder(code)).mean()
        if penalty is None:
            return reconstruction
        terms = {"reconstruction": reconstruction.detach(), "penalty": penalty.detach()}
        return reconstruction + self.penalty_weight * penalty, terms

    def _corrupt(self, X):
        """Rows with the damage that the encoder has to undo in training."""
        if self.corruption is None or not self.training:
            return X
        if self.corruption == "gaussian":
            return X + self.corruption_level * torch.empty_like(X).normal_(generator=self.noise)
        is_replaced = torch.empty_like(X).uniform_(generator=self.noise) < self.corruption_level
        if self.corruption == "masking":
            return X.masked_fill(is_replaced, 0.0)
        is_salt = torch.empty_like(X).uniform_(generator=self.noise) < 0.5
        return torch.where(is_replaced, self.extremes[is_salt.long()], X)

    def _code_penalty(self, code):
        """Penalty on codes (n, k), or None."""
        if self.penalty == "l1":
            return code.abs().sum(1).mean()
        if self.penalty == "kl_sparsity":
            # KL divergence of Bernoulli variables with the target and the mean activities.
            target = self.sparsity_target
            activity = code.mean(0).clamp(1e-6, 1.0 - 1e-6)
            inactive = (1.0 - target) * torch.log((1.0 - target) / (1.0 - activity))
            return (target * torch.log(target / activity) + inactive).sum()
        return None

    def _contraction(self, inputs, code):
        """An unbiased estimate of the mean squared Frobenius norm of the encoder's Jacobian J.

        For standard normal u, E |J' u|^2 is the squared Frobenius norm of J.
        """
        direction = torch.empty_like(code).normal_(generator=self.noise)
        (gradient,) = torch.autograd.grad((code * direction).sum(), inputs, create_graph=True)
        return gradient.square().sum(1).mean()


class _CodePrior:
    """The density of codes, and a Gaussian near it."""

    def __init__(self, density, mean, precision):
        self.score_samples, self.sample = density.score_samples, density.sample
        self.mean, self.precision = mean, precision


def _precision(codes):
    """Inverse covariance (k, k) of codes (n, k), with a ridge for codes that do not vary."""
    k = codes.shape[1]
    covariance = np.zeros((k, k))
    if len(codes) > 1:
        covariance = np.cov(codes, rowvar=False).reshape(k, k)
    ridge = 1e-6 * max(np.trace(covariance) / k, 1e-12)
    return np.linalg.inv(covariance + ridge * np.eye(k))


def _shrink(squares, n_rows, floor):
    """Noise variances (d,), shrunk to their mean by the weight that predicts best.

    squares (2, d) are sums of squared residuals over two halves of the rows; each half is predicted
    from the other. Without shrinkage, a feature that hardly varies in these rows has a variance
    near 0, and a later row in which it does vary is all but impossible.
    """
    half_sizes = np.array([[n_rows - n_rows // 2], [n_rows // 2]])

    def shrunk(variances, weight):
        means = variances.mean(axis=-1, keepdims=True)
        return (1.0 - weight) * variances + weight * means + floor

    def misfit(weight):
        # Twice the negative Gaussian log-likelihood of each half under the other's variances.
        predicted = shrunk(squares / half_sizes, weight)[::-1]
        return np.sum(half_sizes * np.log(predicted) + squares / predicted)

    weight = 0.0
    if n_rows > 1:
        weight = min(SHRINKAGES, key=misfit)
    return shrunk(squares.sum(axis=0) / n_rows, weight)


def _row_loss(kind, X, answer):
    """Loss (n,) of rows (n, d) and the decoder's answer, averaged over the features."""
    if kind == "squared_error":
        return (X - answer).square().mean(1)
    if kind == "absolute_error":
        return (X - answer).abs().mean(1)
    return torch.nn.functional.binary_cross_entropy_with_logits(answer, X, reduction="none").mean(1)


def _bernoulli_curvature(X, logits):
    """Gradient of the log-probability by the logits, and its expected negative second
    derivative."""
    p = torch.sigmoid(logits)
    return X - p, p * (1.0 - p)
