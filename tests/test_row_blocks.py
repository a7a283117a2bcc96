"""Rows that come block by block."""

import re

import numpy as np
import pytest

from probgen import GaussianMixture, RowBlocks


def says(message):
    return pytest.raises(ValueError, match=re.escape(message))


class Dataset:
    """An object of a user's, which can be iterated over again."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        yield from np.array_split(self.rows, 3)


ROWS = np.arange(20.0).reshape(10, 2)


class TestReading:
    @pytest.mark.parametrize(
        "blocks",
        [
            [ROWS[:3], ROWS[3:]],
            (ROWS[:3].tolist(), ROWS[3:].tolist()),
            Dataset(ROWS),
            lambda: iter([ROWS[:9], ROWS[9:]]),
            lambda: (ROWS[i : i + 1] for i in range(10)),
            [ROWS[:0], ROWS[:3], ROWS[:0], ROWS[3:], ROWS[:0]],
            [ROWS[:3].astype(np.int8), ROWS[3:].astype(np.uint16)],
        ],
    )
    def test_gives_the_rows_again_and_again(self, blocks):
        rows = RowBlocks(blocks)
        for _ in range(2):
            read = list(rows)
            assert all(len(block) for block in read)
            np.testing.assert_array_equal(np.concatenate(read), ROWS)

    @pytest.mark.parametrize(
        "dtype, read", [(np.float32, np.float32), (np.float64, np.float64), (np.int32, np.float64)]
    )
    def test_keeps_single_precision(self, dtype, read):
        assert next(iter(RowBlocks([ROWS.astype(dtype)]))).dtype == read


class TestErrors:
    @pytest.mark.parametrize(
        "once", [lambda: iter([ROWS]), lambda: (block for block in [ROWS]), lambda: zip([ROWS])]
    )
    def test_what_can_be_read_only_once(self, once):
        with says("blocks can be read only once, but a fit reads it many times; got"):
            RowBlocks(once())

    @pytest.mark.parametrize("blocks", [5, None])
    def test_what_cannot_be_read(self, blocks):
        with says(
            "blocks must be a re-iterable of arrays or a function that returns an iterator; got"
            f" {blocks!r}"
        ):
            RowBlocks(blocks)

    @pytest.mark.parametrize(
        "blocks, message",
        [
            ([], "X must have at least one row; got RowBlocks without any."),
            ([ROWS[:0]], "X must have at least one row; got RowBlocks without any."),
            ([ROWS, ROWS[:, :1]], "block 1 of X must have 2 features like the first; got 1."),
            (
                [ROWS, ROWS[0]],
                "block 1 of X must be 2-dimensional, rows by features; got shape (2,).",
            ),
            (ROWS, "block 0 of X must be 2-dimensional, rows by features; got shape (2,)."),
            ([ROWS, [["a", "b"]]], "block 1 of X must hold real numbers; got dtype <U1."),
            (
                [np.where(ROWS > 5.0, np.inf, ROWS)],
                "X must hold finite numbers or NaN; got an infinity in its blocks.",
            ),
            (
                [ROWS, [[np.nan, -np.inf]]],
                "X must hold finite numbers or NaN; got an infinity in its blocks.",
            ),
            ([ROWS * np.nan], "X must hold some values; got only NaN."),
        ],
    )
    def test_in_a_fit(self, blocks, message):
        with says(message):
            GaussianMixture().fit(RowBlocks(blocks))

    def test_a_wrong_number_of_weights(self):
        with says("one weight for each row of X"):
            GaussianMixture().fit(RowBlocks([ROWS]), sample_weight=np.ones(9))

    def test_another_width_than_the_fit_had(self):
        model = GaussianMixture().fit(ROWS)
        with says("X has 3 features, but GaussianMixture is expecting 2 features"):
            model.partial_fit(RowBlocks([np.ones((4, 3))]))

    def test_more_components_than_rows(self):
        with says("n_components must be at most the number of rows of X, 10; got 11"):
            GaussianMixture(11).fit(RowBlocks([ROWS]))
