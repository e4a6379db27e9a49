"""From Hugging Face's `config.json` to a `ModelArchitecture` and its precision."""
