"""The claims of SPLARE and SAE-SPLADE, tried again at a small budget."""
