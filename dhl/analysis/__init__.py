"""From per-image results to statistics, verdicts, claims and tables."""
