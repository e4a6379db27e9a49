"""The same scheduler asked by Envoy: it carries the bytes, and asks here where each request goes."""
