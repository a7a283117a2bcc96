"""What training shares: devices."""
