"""Where test collections are from: one reader each, chosen by `saelex.corpus.opening.read_collection`."""
