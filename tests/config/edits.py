"""Edits of a tenant's file as people make them, and as nobody would: lines that come, go, move or say something else."""

from __future__ import annotations

from hypothesis import strategies as st

# What people write, and what they do not: each line may come to stand anywhere.
LINES = (
    "",
    "# a comment",
    "      # a comment, further in",
    "\t# a comment behind a tab",
    "  g: {network: net}",
    "  h: {network: more, ip: 10.0.2.77}",
    "  h2: {network: net, ip: 10.0.1.4}",
    "  i: {network: net, mac: '02:00:00:00:00:07'}",
    "  j: {network: more, mac: '02:00:00:00:00:07'}",
    "  a: {network: net, host: hv1}",
    "  k: {network: net, host: hv9}",
    "  l: {network: net, security_groups: [nobody]}",
    "  m: {network: blue/own}",
    "  n: {network: net, security_groups: [blue/web]}",
    "  o: {network: net, allowed_addresses: {ip: 10.0.1.3}}",
    "  p: {network: net, port_security: false, ethertypes: lldp}",
    "  vm2: {network: more, trunk: {5: net}}",
    "  vm3: {network: more, trunk: {5: {network: net, ip: 10.0.1.6}, 6: blue/own}}",
    "  vm4: {network: more, trunk: {5: more}}",
    "  vm: {network: net}",
    "- {from: vm:5, to: c, expect: allow}",
    "  q: {network: net,",
    "      ip: 10.0.1.5}",
    "  r:",
    "    network: more",
    "  s: &anchor {network: net}",
    "  t: *anchor",
    "  u: |",
    "    some text",
    '  v: {network: "ne\\',
    '    t"}',
    "  w: 'a quote that",
    "  x: goes on'",
    "  ? complex",
    "  : {network: net}",
    '  "y": {network: net}',
    "  Z: {network: net}",
    "  new: {ingress: [{protocol: icmp}]}",
    "  web: {stateless: true}",
    "      - {protocol: tcp, ports: 443}",
    "    enforce: false",
    "    ip: 10.0.1.10",
    "    nothing: of this kind",
    "ports:",
    "ports: {}",
    "ports: # here",
    "networks:",
    "security_groups:",
    "address_groups: {own: 10.9.0.0/16}",
    "tests: []",
    "  extra: {external: public}",
    "  extra: {networks: net}",
    "      - {to: 10.8.0.0/16, via: 10.0.1.13}",
    "  203.0.113.14: d",
    "  203.0.113.13: c",
    "  203.0.113.13: vm:5",
    "  '2001:db8::12': c",
    "routers: {main: {networks: net, external: public, address: 203.0.113.11}}",
    "nonsense: {}",
    "- {from: b, to: a, expect: deny}",
    "---",
    "...",
    "%YAML 1.1",
    "}",
    "]",
    "  g: {network: net}\r",
    "  g: {network: net}\x85  g2: {network: net}",
    "# \x07",
)


@st.composite
def edits(draw: st.DrawFn, text: str) -> str:
    """Return a text after an edit: lines that come, go, move, are doubled or said otherwise."""
    lines = text.split("\n")
    at, count = draw(st.integers(0, len(lines))), draw(st.sampled_from([1, 1, 1, 2, 5]))
    match draw(st.sampled_from(["insert", "insert", "insert", "delete", "move", "double", "word", "end"])):
        case "insert":
            lines[at:at] = [draw(st.sampled_from(LINES))]
        case "delete":
            del lines[at : at + count]
        case "move":
            taken = lines[at : at + count]
            del lines[at : at + count]
            to = draw(st.integers(0, len(lines)))
            lines[to:to] = taken
        case "double":
            lines[at:at] = lines[at : at + count]
        case "word":
            words = ["net", "more", "web", "db", "10.0.1.9", "10.0.1.7", "a", "tcp", "80", "{", "}", " ", "deny", "  "]
            old, new = draw(st.sampled_from(words)), draw(st.sampled_from(words))
            lines[at : at + 8] = "\n".join(lines[at : at + 8]).replace(old, new, 1).split("\n")
        case "end":
            while lines and not lines[-1]:
                lines.pop()
    return "\n".join(lines)
