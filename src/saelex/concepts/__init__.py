"""What a latent means and does: labels, explanations of hits, steering of queries."""
