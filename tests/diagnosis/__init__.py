"""The verdicts, on real sandboxes that are not as they should be."""
