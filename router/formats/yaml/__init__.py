"""YAML files that users edit: read with the line of every key, kept while they do not change, edited in place."""
