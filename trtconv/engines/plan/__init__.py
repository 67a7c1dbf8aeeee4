"""What a plan is, and whether it may run here."""
