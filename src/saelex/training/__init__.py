"""Training on text: SAEs, a language model's adaptation, and retrieval with examples mined for it."""
