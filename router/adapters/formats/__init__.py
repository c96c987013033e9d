"""Other forms of an adapter's weights: GGUF for llama.cpp, and few bits a value for cold storage."""
