"""Fit a predictor to routing data sets."""
