"""The sparse autoencoder alone: module, gates, published formats, training."""
