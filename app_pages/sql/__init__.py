"""The page on which a lake is asked in SQL."""
