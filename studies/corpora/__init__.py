"""Texts for training that are gathered from packages and collections; none of them is in the repository."""
