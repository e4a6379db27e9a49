"""The same scheduler, asked by Envoy: that carries the bytes, and asks where each request goes."""
