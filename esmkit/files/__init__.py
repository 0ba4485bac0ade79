"""Work that survives a kill; arrays, tables, names and provenance on disk."""
