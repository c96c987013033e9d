"""Whether people who know the models would sign the forecasts and choices: `python -m bench.credible`."""
