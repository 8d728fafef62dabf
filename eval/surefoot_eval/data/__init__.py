"""Suites, questions and documents."""
