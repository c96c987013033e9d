"""Tests of the learned gate."""
