"""Commands about retraining from records: `route train --from-records`, promotion of artifacts, `route stages`."""
