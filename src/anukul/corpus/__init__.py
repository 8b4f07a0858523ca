"""`corpus`: read text, normalise it, check its language, drop exact duplicates."""
