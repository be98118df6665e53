"""Tests of a run: a step performed, the journal, the record, the report, and notebooks without a person."""
