"""Commands about the files that describe models, policies and plans."""
