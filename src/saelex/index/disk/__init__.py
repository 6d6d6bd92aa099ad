"""One index folder: its catalogue, its segments, and the commits that change them."""
