"""A pretrained language model, cut and filled from its files: architectures, attention, updates, vocabulary heads."""
