"""An encoder on disk: model folders written and read, published layouts, identity."""
