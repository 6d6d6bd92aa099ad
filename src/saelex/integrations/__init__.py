"""Other people's frameworks over our encoder and index: one file and one extra a framework, imported by its name."""
