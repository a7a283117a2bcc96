"""Tables of mixed columns: frames to arrays and back."""
