"""What a gateway is configured by: `gateway.yaml`, `keys.yaml`, and how both are reloaded while it runs."""
