"""Networks whose outputs for a feature see the features before it alone."""
