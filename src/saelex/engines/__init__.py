"""Other engines: one file each, with the layout that the engine takes and what it does to the weights."""
