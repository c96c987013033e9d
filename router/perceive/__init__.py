"""Turn a prompt into features, and features into a forecast for every card; pure, except for loading files."""
