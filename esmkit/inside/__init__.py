"""Work inside the model: read, edit, patch and differentiate what a pass computes."""
