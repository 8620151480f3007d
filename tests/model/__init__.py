"""Names, numbers and addresses."""
