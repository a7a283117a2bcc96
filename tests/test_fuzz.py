"""Random sequences of calls end in a result within the contract, or in one sentence."""

import pytest
from fuzzing import MODELS, new_counts, play
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_calls_end_in_a_result_or_a_sentence(model):
    @settings(
        max_examples=8,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def sequences(data):
        for found, history in play(data, model, new_counts()):
            assert found in ("result", "refusal"), (found, history)

    sequences()
