"""Workers on many devices and machines, for the parts of a run and for whatever else is cut into tasks."""
