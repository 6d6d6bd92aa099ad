"""Retrieval training: SPLARE, SAE-SPLADE and SPLADE, which differ by a recipe and not by code."""
