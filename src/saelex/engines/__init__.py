"""Other engines: live ones, one a module, behind `saelex.index.engine`; in `files` what is written for them to load."""
