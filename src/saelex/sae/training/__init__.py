"""Training an SAE on token states: `run.train_sae` runs it, `settings.SaeTraining` is its recipe."""
