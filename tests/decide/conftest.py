from hypothesis import settings

# A deadline would be a timed test. Every push draws new examples.
settings.register_profile("pulvinar", max_examples=40, deadline=None)
settings.load_profile("pulvinar")
