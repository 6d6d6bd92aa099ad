"""Adapting a language model before retrieval training: masked next-token prediction, and masked language modelling."""
