from hypothesis import settings

# A deadline would be a timed test.
settings.register_profile("pulvinar", max_examples=40, deadline=None)
settings.load_profile("pulvinar")
