"""Files: work that survives a kill; arrays, tables, names and provenance on disk.

``task`` runs a task from FASTA to one file, as ``run_options`` say, in ``shards`` in a ``work_folder``
beside it, so that a run that is killed goes on; ``disk`` writes in small steps that leave nothing
half done; ``arrays`` and ``tables`` are the formats, ``names`` makes file names, ``provenance`` says
what made a file.
"""
