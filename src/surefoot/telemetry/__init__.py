"""Subscribers to events: log and OpenTelemetry. They are never in the way of a call."""
