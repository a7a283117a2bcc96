"""Generators of images that draw one pixel after another, from a recurrent network that walks over
those before."""

from probgen._validation import check_choice, check_image_shape
from probgen.estimators.autoregressive.networks.recurrent import LAYERS, RecurrentNetwork
from probgen.estimators.autoregressive.pixels import PixelGenerator


class PixelRNN(PixelGenerator):
    """PixelRNN: a recurrent network that tells how each pixel scatters given those before it.

    log p(x) is the sum over the pixels, row by row from the top left, and over their colours, red,
    green, blue, of log p(x_j given all before) [1]_. Its layers walk over the image as a `PixelCNN`
    does not, so that a pixel is told of all that is before it however few layers there are; but a
    walk takes a step for each row or diagonal. Training is several times slower than that of a
    `PixelCNN`, and draws are far slower.

    Parameters
    ----------
    n_filters : int, default=16
        Numbers of the state of a pixel; colour images share them out among the colours, rounded up.
    n_layers : int, default=2
        Layers.
    layer : {"row_lstm", "diagonal_bilstm"}, default="row_lstm"
        A walk down the rows, in which a pixel is told of a triangle above it; or walks along the
        diagonals from both upper corners, in which it is told of all that is before it.
    image_shape : tuple of int, default=None
        (height, width) or (height, width, channels) of the images in the rows, channels last. None
        reads a perfect square of features as a grey image, and other rows as an image of one
        pixel's height.
    likelihood : str or Option, default="auto"
        Conditional distribution of a pixel, whole numbers from 0 to n_levels - 1: "bernoulli" for 0
        and 1; "categorical", with a probability for each level; or "discretized_logistic", a
        mixture of logistics, which gives neighbouring levels similar probabilities. "auto" is
        "bernoulli" for rows of 0 and 1, "categorical" for up to 64 levels and
        "discretized_logistic" beyond. An object of `probgen.options` has settings:
        `Categorical(n_levels=17)`, `DiscretizedLogistic(n_levels=256, n_mixture=5)`. By default
        levels are counted up to the largest value in X, and 10 logistics are mixed.
    dynamic_binarization : bool, default=False
        Whether values in [0, 1] are probabilities of a 1, from which rows are drawn afresh for each
        batch of the training. What is scored later has to be rows of 0 and 1.
    representation : {"features", "log_prob"}, default="features"
        What `transform` gives: the channels of the last hidden layer, averaged over the pixels, or
        the log-probability of every pixel given those before.
    n_importance_samples : int or None, default=100
        Proposals for each row under conditions that do not stand first in the order of drawing, and
        for each row that lacks values before others. None asks for what is exact, and raises
        elsewhere.
    max_iter : int, default=30
        Epochs.
    batch_size : int or "auto", default="auto"
        Rows of a batch; "auto" takes 32 to 64, a hundredth of the rows.
    learning_rate_init : float, default=2e-3
        Learning rate at the start.
    trainer : Trainer, default=None
        All else of the training; None is `Trainer(schedule="cosine")`.
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
    network_, observation_ : torch.nn.Module
        From rows to numbers, and from those to the law of each pixel given those before.
    likelihood_ : str
        The likelihood that was chosen.
    n_levels_ : int
        Levels of a pixel.
    image_shape_ : tuple of int
        (height, width, channels).
    history_ : History
        Per epoch: "loss" in nats a row, validation score, learning rate, seconds.
    n_iter_ : int
        Epochs that were trained.
    device_ : str
        Where the network is.

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
        n_filters=16,
        n_layers=2,
        *,
        layer="row_lstm",
        image_shape=None,
        likelihood="auto",
        dynamic_binarization=False,
        representation="features",
        n_importance_samples=100,
        max_iter=30,
        batch_size="auto",
        learning_rate_init=2e-3,
        trainer=None,
        warm_start=False,
        device="auto",
        random_state=None,
        verbose=0,
    ):
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

    def _check_parameters(self):
        super()._check_parameters()
        check_choice("layer", self.layer, LAYERS)

    def _make_network(self, found):
        self.image_shape_ = check_image_shape(self.image_shape, self.n_features_in_)
        return RecurrentNetwork(
            self.image_shape_,
            self.observation_.n_outputs_per_feature,
            layer=self.layer,
            n_filters=self.n_filters,
            n_layers=self.n_layers,
            n_levels=self.n_levels_,
        )
