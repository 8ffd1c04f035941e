"""Virtual memory: as, seg, hat, page."""
