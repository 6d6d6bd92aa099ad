"""One reader for each kind of file: what is damaged, foreign or of the wrong type is one InputError that names it."""
