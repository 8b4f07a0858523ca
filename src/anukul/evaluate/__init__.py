"""Score base and adapted on the same items, and say with intervals what differs."""
