"""What is scored, read from local files: questions, minimal pairs, held-out lines; for evaluate and the ledger."""
