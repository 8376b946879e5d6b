"""The report of a study: one document built from the lake, written as a self-contained HTML page and as Markdown with figure files."""
