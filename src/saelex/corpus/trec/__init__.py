"""TREC's files: topics, relevance judgements and runs, plain or gzipped. TREC's qrels are read by `read_qrels`."""
