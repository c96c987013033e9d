"""The endpoints: completions, dry runs, the model list, status and the OpenAPI document."""
