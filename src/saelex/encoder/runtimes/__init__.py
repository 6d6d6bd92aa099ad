"""Where the arithmetic is done: one file a runtime, behind one small protocol. A search imports none that it does not use."""
