"""The report of a profile: answers to questions, tables and figures, as pages to read."""
