"""What tests compare with and share: independent implementations, made data, helpers."""
