"""Where test collections are from: one reader each, chosen by `saelex.corpus.collection.read_collection`."""
