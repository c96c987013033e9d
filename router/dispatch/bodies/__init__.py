"""The bodies of responses: their content codings, and what they contain whatever their content type says."""
