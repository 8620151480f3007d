"""The lab on this machine: hosts set up, labs up and down, probes, Mininet."""
