"""What a notebook shows, and who is in front of it."""
