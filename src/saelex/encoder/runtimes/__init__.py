"""Where the arithmetic is done: a file a runtime, behind one small protocol; a search imports the one that it uses."""
