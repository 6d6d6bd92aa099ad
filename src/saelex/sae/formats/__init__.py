"""Published SAE formats, one file each; `registry` recognises them by their files."""
