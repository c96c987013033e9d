"""The dashboard: a page for operators, and the JSON that it reads."""
