"""The guide's steps, performed on real sandboxes, disturbed in every way that can be thought of."""
