"""Log-likelihood scoring through a token trie; used by evaluate, by the training ledger and by the probe."""
