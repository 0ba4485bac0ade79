"""A profile written up: answers to the questions, tables and figures, as pages to read."""
