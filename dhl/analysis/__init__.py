"""Statistics, verdicts on claims, tables, and the comparison of runs."""
