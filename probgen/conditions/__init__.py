"""What `given` asks of draws. Nothing is imported here, for `given` needs no torch and `evidence`
does."""
