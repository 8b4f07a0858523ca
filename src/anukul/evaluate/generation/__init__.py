"""Free texts of base and adapted, and what can be measured on them without a judge."""
