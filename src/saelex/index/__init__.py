"""The inverted index: postings on disk, documents in a catalogue, exact search."""
