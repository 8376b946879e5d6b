"""The extractors, one module each, with the bases that several share."""
