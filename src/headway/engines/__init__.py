"""A real engine on this machine behind OpenAI's API: continuous batching to try a gateway on."""
