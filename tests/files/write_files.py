"""Write one small file of every family, with what each model scores and draws.

    python tests/files/write_files.py            # all models
    python tests/files/write_files.py vae_conv   # some of them

The files go into a folder named after the version of probgen. Files that exist already are kept:
they are what users of that version have, and `tests/test_old_files.py` opens all of them. Run this
script before each release, or for the models of a new family, and commit what it writes.
`0.1.0.dev0` has files of format 1, written before the first release.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits, load_iris
from sklearn.preprocessing import StandardScaler

import probgen
from probgen import (
    GAN,
    MADE,
    VAE,
    VAEGAN,
    Autoencoder,
    AuxiliaryClassifierGAN,
    BayesClassifier,
    ConditionalGAN,
    ConditionalPixelCNN,
    ConditionalVAE,
    DeepBeliefClassifier,
    DeepBeliefNetwork,
    Dequantizer,
    FullyVisibleBeliefNetwork,
    GaussianBayes,
    GaussianMixture,
    HiddenMarkovModel,
    LogitTransformer,
    MixtureModel,
    PixelCNN,
    PixelRNN,
    RestrictedBoltzmannMachine,
    SemiSupervisedVAE,
    Trainer,
    make_generative_pipeline,
)
from probgen.options import (
    ELBO,
    R1,
    AnnealedImportanceSampling,
    AutoLikelihood,
    Categorical,
    DiscretizedLogistic,
    Gaussian,
    GaussianMixtureLikelihood,
    InverseAutoregressiveFlow,
    MixturePrior,
    ParzenWindow,
    VampPrior,
)

FOLDER = Path(__file__).parent / probgen.__version__
ROWS, SEED, N_SCORED, N_DRAWN = 200, 0, 5, 3

IRIS, IRIS_CLASSES = load_iris(return_X_y=True)
DIGITS, DIGITS_CLASSES = load_digits(return_X_y=True)
IMAGES, DIGITS_CLASSES = DIGITS[:ROWS].astype(np.float32), DIGITS_CLASSES[:ROWS]
DIGITS = np.ascontiguousarray(
    IMAGES.reshape(-1, 8, 8)[:, ::2, 1::2].reshape(-1, 16)
)  # 4 x 4 pixels
BITS = (DIGITS > 7).astype(np.float32)
FEW_LABELS = np.where(np.arange(ROWS) % 4 == 0, DIGITS_CLASSES, -1)

NETWORK = {"max_iter": 2, "device": "cpu", "random_state": SEED}
DENSE = {"hidden_layer_sizes": (6,), **NETWORK}

MODELS = {  # a name: an estimator, and what it is fitted to
    "gaussian_mixture_full": (GaussianMixture(2, random_state=SEED), IRIS),
    "gaussian_mixture_tied": (GaussianMixture(2, covariance_type="tied", random_state=SEED), IRIS),
    "gaussian_mixture_diag": (GaussianMixture(2, covariance_type="diag", random_state=SEED), IRIS),
    "gaussian_mixture_spherical": (
        GaussianMixture(2, covariance_type="spherical", random_state=SEED),
        IRIS,
    ),
    "gaussian_mixture_low_rank": (
        GaussianMixture(2, covariance_type="low_rank", n_factors=1, random_state=SEED),
        IRIS,
    ),
    "hidden_markov_gaussian": (
        HiddenMarkovModel(2, sequence_shape=(2, 2), random_state=SEED),
        IRIS,
    ),
    "mixture_model": (
        MixtureModel(2, distributions={0: "lognormal", 1: "gamma"}, random_state=SEED),
        IRIS,
    ),
    "gaussian_bayes_full": (GaussianBayes(random_state=SEED), IRIS, IRIS_CLASSES),
    "gaussian_bayes_mixtures": (
        GaussianBayes(covariance_type="diag", n_components=2, random_state=SEED),
        IRIS,
        IRIS_CLASSES,
    ),
    "gaussian_bayes_tied": (
        GaussianBayes(covariance_type="tied", random_state=SEED),
        IRIS,
        IRIS_CLASSES,
    ),
    "bayes_classifier": (
        BayesClassifier(GaussianMixture(2), random_state=SEED),
        IRIS,
        IRIS_CLASSES,
    ),
    "autoencoder_dense": (
        Autoencoder(
            2, corruption="gaussian", penalty="contractive", n_importance_samples=8, **DENSE
        ),
        DIGITS,
    ),
    "autoencoder_sparse": (
        Autoencoder(
            2, corruption="masking", penalty="kl_sparsity", n_importance_samples=8, **DENSE
        ),
        IRIS,
    ),
    "autoencoder_tied": (Autoencoder(2, tied_weights=True, n_importance_samples=8, **DENSE), IRIS),
    "autoencoder_conv": (
        Autoencoder(
            2, architecture="conv", hidden_layer_sizes=(2,), n_importance_samples=8, **NETWORK
        ),
        DIGITS,
    ),
    "vae_bernoulli": (
        VAE(2, likelihood="bernoulli", elbo=ELBO(kl_warmup=2, free_bits=0.01), **DENSE),
        BITS,
    ),
    "vae_gaussian": (VAE(2, likelihood=Gaussian("learned"), beta=2.0, **DENSE), IRIS),
    "vae_logistic": (
        VAE(
            2,
            likelihood=DiscretizedLogistic(17, n_mixture=2),
            prior=MixturePrior(3),
            **DENSE,
        ),
        DIGITS,
    ),
    "vae_categorical": (
        VAE(2, likelihood=Categorical(5), elbo=ELBO("iwae", n_particles=2), **DENSE),
        DIGITS // 4,
    ),
    "vae_mixture": (
        VAE(2, likelihood=GaussianMixtureLikelihood(2), elbo="trace", **DENSE),
        IRIS,
    ),
    "vae_laplace": (
        VAE(2, likelihood="laplace", prior=VampPrior(3), **DENSE),
        IRIS,
    ),
    "vae_iaf": (
        VAE(2, likelihood="gaussian", posterior=InverseAutoregressiveFlow(1), **DENSE),
        IRIS,
    ),
    "vae_conv": (VAE(2, architecture="conv", **{**DENSE, "hidden_layer_sizes": (2,)}), BITS),
    "conditional_vae": (ConditionalVAE(2, **DENSE), BITS, DIGITS_CLASSES),
    "semi_supervised_vae": (SemiSupervisedVAE(2, **DENSE), BITS, FEW_LABELS),
    "made_gaussian": (
        MADE((6,), likelihood=AutoLikelihood(n_mixture=2), n_orderings=2, **NETWORK),
        IRIS,
    ),
    "made_categorical": (
        MADE((6,), likelihood=Categorical(n_levels=5), **NETWORK),
        DIGITS[:, 4:8] // 4,
    ),
    "made_order_agnostic": (
        MADE((6,), likelihood=AutoLikelihood(n_mixture=2), order_agnostic=True, **NETWORK),
        IRIS,
    ),
    "fvbn": (FullyVisibleBeliefNetwork(**NETWORK), BITS),
    "pixelcnn_bits": (PixelCNN(2, 2, **NETWORK), BITS),
    "pixelcnn_levels": (
        PixelCNN(2, 1, likelihood=AutoLikelihood(n_levels=17, n_mixture=2), **NETWORK),
        DIGITS,
    ),
    "pixelcnn_gated": (
        PixelCNN(2, 2, gated=True, attention=True, shortcuts=True, **NETWORK),
        BITS,
    ),
    "pixelcnn_scales": (PixelCNN(2, 1, scales=(2, 4), **NETWORK), BITS),
    "conditional_pixelcnn": (ConditionalPixelCNN(2, 1, **NETWORK), BITS, DIGITS_CLASSES),
    "pixelrnn_row": (PixelRNN(2, 1, **NETWORK), BITS),
    "pixelrnn_diagonal": (PixelRNN(2, 1, layer="diagonal_bilstm", **NETWORK), BITS),
    "boltzmann_bernoulli": (RestrictedBoltzmannMachine(4, algorithm="cd", **NETWORK), BITS),
    "boltzmann_categorical": (
        RestrictedBoltzmannMachine(4, visible=Categorical(5), **NETWORK),
        DIGITS // 4,
    ),
    "boltzmann_gaussian": (RestrictedBoltzmannMachine(4, visible="gaussian", **NETWORK), IRIS),
    "deep_belief_network": (DeepBeliefNetwork((5, 4), n_pretraining=1, **NETWORK), BITS),
    "deep_belief_classifier": (
        DeepBeliefClassifier((5, 4), n_pretraining=1, n_sampling_steps=20, **NETWORK),
        BITS,
        DIGITS_CLASSES,
    ),
    "gan_dense": (
        GAN(2, density=ParzenWindow(64), penalty=R1(weight=0.2), encoder=True, **DENSE),
        IRIS,
    ),
    "gan_wasserstein": (
        GAN(
            2,
            loss="wasserstein",
            penalty="wgan_gp",
            density=AnnealedImportanceSampling(n_chains=2, n_temperatures=4),
            **DENSE,
        ),
        IRIS,
    ),
    "gan_conv": (
        GAN(2, architecture="conv", density="parzen", **{**DENSE, "hidden_layer_sizes": (2, 4)}),
        IMAGES,
    ),
    "vaegan": (VAEGAN(2, density=ParzenWindow(64), **DENSE), IRIS),
    "conditional_gan": (
        ConditionalGAN(2, density=ParzenWindow(64), **DENSE),
        IRIS,
        IRIS_CLASSES,
    ),
    "auxiliary_classifier_gan": (
        AuxiliaryClassifierGAN(2, density=ParzenWindow(64), **DENSE),
        IRIS,
        IRIS_CLASSES,
    ),
    "pipeline_scaled": (
        make_generative_pipeline(StandardScaler(), GaussianMixture(2, random_state=SEED)),
        IRIS,
    ),
    "pipeline_dequantized": (
        make_generative_pipeline(
            Dequantizer(levels=17, random_state=SEED),
            LogitTransformer(bounds=(0, 17)),
            GaussianMixture(2, covariance_type="diag", random_state=SEED),
        ),
        DIGITS[:, 4:8].astype(np.float64),
    ),
    "trainer": (
        Autoencoder(
            2, trainer=Trainer(schedule="one_cycle", ema_decay=0.9), n_importance_samples=8, **DENSE
        ),
        IRIS,
    ),
}
# Files of many weights, kept small by leaving out the state that `partial_fit` starts from.
NEVER_CONTINUED = {
    "vae_iaf",
    "vae_logistic",
    "vae_categorical",
    "vae_mixture",
    "vae_laplace",
    "vae_conv",
    "gan_wasserstein",
    "autoencoder_conv",
    "pixelcnn_levels",
    "pixelcnn_gated",
    "pixelcnn_scales",
    "conditional_pixelcnn",
    "pixelrnn_diagonal",
    "gan_conv",
    "made_order_agnostic",
}


def main(names):
    FOLDER.mkdir(exist_ok=True)
    for name in names or MODELS:
        estimator, *data = MODELS[name]
        if (FOLDER / f"{name}.probgen").exists():
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # two epochs converge nowhere
            model = estimator.fit(*data)
            # Importance sampling of many draws would make the test slow, and is a parameter that
            # queries read.
            if hasattr(model, "n_importance_samples"):
                model.set_params(n_importance_samples=8)
            if name in NEVER_CONTINUED:
                del model._training_state
            probgen.save(model, FOLDER / f"{name}.probgen")
            rows = data[0][:N_SCORED]
            np.savez_compressed(
                FOLDER / f"{name}.npz",
                rows=rows,
                scores=model.score_samples(rows),
                codes=np.asarray(model.transform(rows)),
                draws=model.sample(N_DRAWN, random_state=1),
                stream=model.sample(N_DRAWN),
            )
        print(name, (FOLDER / f"{name}.probgen").stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1:])
