"""The same YAML as a running lab: namespaces or Mininet, a real Open vSwitch per host, and probes.

`plan` says what a lab of a topology consists of, `lab` brings it up and takes it down, `namespaces` and `switches` are its
building blocks, `prober` sends packets and `reach` compares what arrived with what may; `mininet` does it inside Mininet.
"""
