"""Systems on collections that exist in several languages: queries of each over documents of each."""
