"""Text to sparse latent vectors: backbone, head, pooling, Encoder."""
