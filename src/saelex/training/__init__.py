"""Training on text: token states for SAEs; later, retrieval training."""
