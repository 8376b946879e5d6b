"""The page Personas: how alike personas are inside a checkpoint, where they lie to each other, and whether the marker leaks to near ones."""
