"""A judge compares the texts of base and adapted."""
