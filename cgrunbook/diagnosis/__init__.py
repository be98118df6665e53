"""What is wrong, and what is to be done about it: the checks of the steps put together to a verdict.

It knows no notebook and shows nothing; it only reads. What one check means is in the steps' own files.
"""
