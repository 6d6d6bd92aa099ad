"""Training examples: a query, passages that answer it, passages that do not, and what a teacher says of them."""
