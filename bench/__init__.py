"""Measurements: ratios of one run on one machine, in rounds that take turns, as medians."""
