"""What the masked-LM head says of proteins: probabilities of letters, and scores of variants."""
