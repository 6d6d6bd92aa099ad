"""`saelex train-sae`: from texts through a backbone to the states that `saelex.sae.training` learns from."""
