"""Models of one feature after another, with their networks."""
