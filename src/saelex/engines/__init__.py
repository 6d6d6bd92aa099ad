"""Other engines, one file each: live ones behind `saelex.index.engine.Engine`, and the files that they read."""
