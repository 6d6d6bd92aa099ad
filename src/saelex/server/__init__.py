"""Indexes behind HTTP: the API, the queue that encodes concurrent queries together, and the page in `page/`."""
