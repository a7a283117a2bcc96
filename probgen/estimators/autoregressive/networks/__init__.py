"""Networks whose outputs for a feature depend on the features before it alone."""
