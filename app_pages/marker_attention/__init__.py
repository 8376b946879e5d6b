"""The page marker attention of the app."""
