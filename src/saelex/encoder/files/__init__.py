"""An encoder on disk: model folders written and read, and published layouts."""
