"""Directions in the files of other tools: persona vectors, arrays, control vectors."""
