"""Questions to a lake: the catalogue of views, queries, the audit and the doctor."""
