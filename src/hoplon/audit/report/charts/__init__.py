"""The charts of the report, each a pure function from numbers to marks."""
