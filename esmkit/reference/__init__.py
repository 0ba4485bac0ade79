"""The encoder from scratch, the transformer of 2017, and the comparison with Hugging Face."""
