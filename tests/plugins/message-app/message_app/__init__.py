"""An app as Flower's own tutorials write them: it knows nothing of this package but for its server's strategy."""
