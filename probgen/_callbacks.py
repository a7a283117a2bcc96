"""Names of the attributes that scikit-learn's callback protocol sets on estimators."""

CALLBACKS = "_skl_callbacks"
CALLBACKS_TO_TEAR_DOWN = "_skl_callbacks_to_teardown"
FIT_CONTEXT = "_callback_fit_ctx"
PARENT_CONTEXT = "_parent_callback_ctx"
