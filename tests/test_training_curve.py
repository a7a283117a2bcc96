"""The training curve shows what the history says."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probgen.plots import TrainingCurveDisplay
from probgen.training.history import History


class Learner(BaseEstimator):
    """Estimator whose loss in epoch k is 1 / k."""

    def __init__(self, max_iter=3):
        self.max_iter = max_iter

    def fit(self, X, y=None):
        self.history_ = History({"epoch": k, "loss": 1.0 / k} for k in range(1, self.max_iter + 1))
        return self

    def score(self, X, y=None):
        return self.max_iter


def axes():
    return Figure().subplots()


def test_losses_and_score_have_an_axis_each():
    history = History(
        [
            {"epoch": 4, "critic": 2.0, "generator": 5.0},
            {"epoch": 5, "critic": 1.0, "validation_score": -7.0},
        ]
    )
    display = TrainingCurveDisplay.from_history(history, ax=axes())
    drawn = {line.get_label(): line for line in display.lines_}
    assert list(drawn) == ["critic", "generator", "validation score"]
    np.testing.assert_array_equal(drawn["critic"].get_xydata(), [[4, 2], [5, 1]])
    np.testing.assert_array_equal(drawn["generator"].get_ydata(), [5, np.nan])
    np.testing.assert_array_equal(drawn["validation score"].get_xydata(), [[4, np.nan], [5, -7]])
    assert drawn["critic"].axes is display.ax_
    assert drawn["validation score"].axes is display.score_ax_
    assert display.figure_ is display.ax_.figure
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == list(drawn)


def test_without_a_score_there_is_one_axis():
    display = TrainingCurveDisplay.from_estimator(Learner().fit([[0.0]]), ax=axes(), linewidth=5)
    assert display.score_ax_ is None
    (line,) = display.lines_
    np.testing.assert_allclose(line.get_ydata(), [1, 1 / 2, 1 / 3])
    assert line.get_linewidth() == 5


def test_searches_and_pipelines_are_unwrapped():
    X = np.arange(6.0)[:, None]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), Learner()), {"learner__max_iter": [2, 4]}, cv=2
    ).fit(X)
    assert len(TrainingCurveDisplay.from_estimator(search, ax=axes()).lines_[0].get_xdata()) == 4


def test_log_scale():
    display = TrainingCurveDisplay.from_estimator(Learner().fit([[0.0]]), ax=axes(), log_scale=True)
    assert display.ax_.get_yscale() == "log"


def test_log_scale_of_losses_below_zero_is_refused():
    history = History([{"epoch": 1, "loss": -2.0}])
    with pytest.raises(
        ValueError, match="log_scale=True needs losses above 0; got loss = -2; set log_scale=False"
    ):
        TrainingCurveDisplay.from_history(history, log_scale=True)


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="history must have at least one epoch"):
        TrainingCurveDisplay.from_history(History())
    with pytest.raises(TypeError, match=r"history must be a History, .*; got \[\]"):
        TrainingCurveDisplay.from_history([])
    with pytest.raises(
        TypeError, match=r"must be fitted and keep a history_ of its epochs; got Learner\(\)"
    ):
        TrainingCurveDisplay.from_estimator(Learner())


def test_a_new_figure_does_without_pyplot(tmp_path):
    code = """if True:
        import sys
        from probgen.plots import TrainingCurveDisplay
        from probgen.training.history import History
        assert "matplotlib" not in sys.modules
        display = TrainingCurveDisplay.from_history(History([{"epoch": 1, "loss": 1.0}]))
        display.figure_.savefig("curve.png")
        assert "matplotlib.pyplot" not in sys.modules
        sys.modules["matplotlib.figure"] = None
        try:
            TrainingCurveDisplay.from_history(display.history)
        except ImportError as error:
            assert "pip install 'probgen[plot]'" in str(error)
        else:
            raise AssertionError
    """
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
