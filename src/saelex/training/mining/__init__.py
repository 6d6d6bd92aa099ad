"""Hard negatives and teachers' scores for a collection's training queries, in Parquet files that can be shared."""
