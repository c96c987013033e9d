"""The HTTP gateway: endpoints, routing of a request, configuration, telemetry and the server process."""
