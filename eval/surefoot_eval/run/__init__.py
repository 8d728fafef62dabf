"""Runs a suite: answers, journal, results."""
