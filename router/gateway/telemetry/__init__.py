"""What a gateway reports of each request: the access log, Prometheus metrics and OpenTelemetry traces."""
