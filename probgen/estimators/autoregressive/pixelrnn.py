"""Recurrent generators of images, which draw one pixel given those before it."""

from collections.abc import Sequence

from probgen._validation import RandomState, check_choice, check_image_shape
from probgen.estimators.autoregressive.networks.recurrent import LAYERS, RecurrentNetwork
from probgen.estimators.autoregressive.pixels import PixelGenerator
from probgen.options import Option
from probgen.training.statistics import RowStatistics
from probgen.training.trainer import Trainer


class PixelRNN(PixelGenerator):
    """PixelRNN: a recurrent network for the distribution of each pixel given those before it.

    log p(x) is the sum over the pixels, row by row from the top left, and over their colours, red,
    green, blue, of log p(x_j given all before it) [1]_. Its recurrent layers carry information over
    the whole image, however few there are, but they take a step for each row or diagonal. Training
    is several times slower than that of a `PixelCNN`, and draws are far slower.

    Parameters
    ----------
    n_filters : int, default=16
        Size of the state of a pixel, divided among the colours and rounded up.
    n_layers : int, default=2
        Number of layers.
    layer : {"row_lstm", "diagonal_bilstm"}, default="row_lstm"
        "row_lstm" runs down the rows, and a pixel depends on a triangle above it;
        "diagonal_bilstm" runs along the diagonals from both upper corners, and a pixel depends on
        all pixels before it.
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels) of the images in the rows, channels last. None
        takes a perfect square of features as a grey image, and other rows as an image of height 1.
    likelihood : str or Option, default="auto"
        Conditional distribution of a pixel, whole numbers from 0 to n_levels - 1: "bernoulli" for 0
        and 1; "categorical", with a probability for each level; or "discretized_logistic", a
        mixture of logistics, which gives neighbouring levels similar probabilities. "auto" is
        "bernoulli" for rows of 0 and 1, "categorical" for up to 64 levels and
        "discretized_logistic" beyond. An object of `probgen.options` has settings:
        `Categorical(n_levels=17)`, `DiscretizedLogistic(n_levels=256, n_mixture=5)`. By default
        levels are counted up to the largest value in X, and 10 logistics are mixed.
    dynamic_binarization : bool, default=False
        Whether values in [0, 1] are probabilities of a 1, from which new rows are drawn for each
        batch in training. Queries take rows of 0 and 1.
    representation : {"features", "log_prob"}, default="features"
        What `transform` returns: the channels of the last hidden layer, averaged over the pixels,
        or the log-probability of each pixel given those before it.
    n_importance_samples : int or None, default=100
        Proposals for each row in which a known pixel comes after an unknown one, at least 2. None
        raises an error for such rows, whose results are not exact.
    max_iter : int, default=30
        Number of epochs.
    batch_size : int or "auto", default="auto"
        Rows of a batch; "auto" takes 32 to 64, a hundredth of the rows.
    learning_rate_init : float, default=2e-3
        Initial learning rate.
    trainer : Trainer, default=None
        All other settings of training; None is `Trainer(schedule="cosine")`.
    warm_start : bool, default=False
        Whether `fit` continues from the last fit.
    device : {"auto", "cpu", "cuda"} or str such as "cuda:1", default="auto"
        Device of the network.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the fit and the stream of later draws.
    verbose : int, default=0
        Whether to show a progress bar.

    Attributes
    ----------
    network_, observation_ : torch.nn.Module
        From rows to outputs, and from outputs to the conditional distribution of each pixel.
    likelihood_ : str
        The likelihood that was chosen.
    n_levels_ : int
        Number of levels of a pixel.
    image_shape_ : tuple of int
        (height, width, channels).
    history_ : History
        For each epoch, "loss" in nats per row, validation score, learning rate and seconds.
    n_iter_ : int
        Number of epochs trained.
    device_ : str
        Device of the fitted network.

    References
    ----------
    .. [1] A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu, Pixel recurrent neural networks, 2016.

    Examples
    --------
    >>> from probgen import PixelRNN
    >>> from sklearn.datasets import load_digits
    >>> X = (load_digits().data > 7).astype("float32")
    >>> model = PixelRNN(n_filters=4, n_layers=1, max_iter=2, random_state=0).fit(X)
    >>> model.likelihood_, model.sample(3).shape
    ('bernoulli', (3, 64))
    """

    def __init__(
        self,
        n_filters: int = 16,
        n_layers: int = 2,
        *,
        layer: str = "row_lstm",
        image_shape: Sequence[int] | None = None,
        likelihood: str | Option = "auto",
        dynamic_binarization: bool = False,
        representation: str = "features",
        n_importance_samples: int | None = 100,
        max_iter: int = 30,
        batch_size: int | str = "auto",
        learning_rate_init: float = 2e-3,
        trainer: Trainer | None = None,
        warm_start: bool = False,
        device: str = "auto",
        random_state: RandomState = None,
        verbose: int = 0,
    ) -> None:
        self.n_filters = n_filters
        self.n_layers = n_layers
        self.layer = layer
        self.image_shape = image_shape
        self.likelihood = likelihood
        self.dynamic_binarization = dynamic_binarization
        self.representation = representation
        self.n_importance_samples = n_importance_samples
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.trainer = trainer
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("layer", self.layer, LAYERS)

    def _make_network(self, statistics: RowStatistics) -> RecurrentNetwork:
        self.image_shape_ = check_image_shape(self.image_shape, self.n_features_in_)
        return RecurrentNetwork(
            self.image_shape_,
            self.observation_.n_outputs_per_feature,
            layer=self.layer,
            n_filters=self.n_filters,
            n_layers=self.n_layers,
            n_levels=self.n_levels_,
        )
