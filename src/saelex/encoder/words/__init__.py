"""Exact words beside the latents: analysers by language, the lexical channel, BM25 statistics."""
