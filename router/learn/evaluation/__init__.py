"""Evaluation of the predictor: splits, baselines, metrics, calibration, cold start, out-of-domain detection."""
# Nothing is exported: `evaluate` imports scikit-learn, which `route score` must not wait for.
