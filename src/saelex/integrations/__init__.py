"""saelex in the frameworks that people build with: one file and one extra each, imported by nobody but its user."""
