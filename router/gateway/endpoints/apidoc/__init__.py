"""The OpenAPI document, and the types of bodies that it describes."""
