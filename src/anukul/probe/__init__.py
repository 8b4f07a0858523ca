"""Which attention heads resolve which dependency relations, base against adapted."""
