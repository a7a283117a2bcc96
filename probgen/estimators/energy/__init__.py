"""Energy-based generators: restricted Boltzmann machines and deep belief networks."""
