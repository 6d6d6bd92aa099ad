"""Which SAE the embedded default is made of."""
