"""Build and judge predictors: routing data sets, training, evaluation, onboarding of cards, the encoder, reports."""
