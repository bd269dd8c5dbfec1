"""Metrics of a run for Prometheus and OpenTelemetry: their only door."""
