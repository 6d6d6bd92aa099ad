"""Hard negatives and teacher scores, made once and kept as Parquet that can be resumed and shared."""
