"""A load of requests on engines: times, throughput, dollars and joules."""
