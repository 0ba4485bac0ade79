"""Head specialisation: what each attention head does, and whether it matters."""
