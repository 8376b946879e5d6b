"""Sparse autoencoders: read from the files of three formats, found on this machine, on the Hub or in the lake, one layer each."""
