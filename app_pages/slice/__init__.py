"""The page Slice: everything that the lake knows of one checkpoint, persona and layer."""
