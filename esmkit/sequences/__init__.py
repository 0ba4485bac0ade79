"""From FASTA to proteins to tokens; windows; the report of what was done to the input."""
