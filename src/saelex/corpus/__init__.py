"""Documents, queries and relevance judgements: the files they come in, and the Python documentation as an example."""
