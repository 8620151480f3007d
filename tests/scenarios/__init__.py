"""Acceptance tests: what users of OVN and Neutron are used to, and what the documents promise, as network stories."""
