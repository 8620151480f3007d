"""One small file for each kind of problem; `«…»` marks the offending text."""

from __future__ import annotations

_RED = "{segments: 1000-1099}"


def _fabric(rest: str) -> str:
    return f"fabric: test\n{rest}"


FABRIC_CASES: list[tuple[str, str]] = [
    ("N010", "fabric: test\nhosts: {hv1: {tunnel_ip: 172.31.0.1}\n«t»enants: {}\n"),
    ("N011", "fabric: test\n«fabric»: again\n"),
    ("N012", "fabric: &name «t»est\n".replace("&name «t»est", "«&»name test")),
    ("N012", "fabric: «!»!str test\n"),
    ("N012", "fabric: test\n«-»--\nfabric: test\n"),
    ("N013", "fabric: " + "[" * 31 + "«[»" + "]" * 32 + "\n"),
    ("N015", "fabric: test\n«host»: {}\n"),
    ("N015", _fabric("hosts: {hv1: {tunnel_ip: 172.31.0.1, bridges: {«itn»: br0}}}")),
    ("N015", _fabric("hosts: {bridges: {tunnel_ip: 172.31.0.1, «tunel»: 1}}")),
    ("N017", _fabric("hosts:\n  «hv1»: {kind: ovs}")),
    ("N018", _fabric("hosts: «[»hv1, hv2]")),
    ("N018", _fabric("«mtu»:")),
    ("N019", "fabric: «Test»\n"),
    ("N019", _fabric("hosts: {«hv_1»: {tunnel_ip: 172.31.0.1}}")),
    (
        "N019",
        _fabric("hosts: {hv1: {tunnel_ip: 172.31.0.1}}\nphysical_networks: {«a-long-physical-net»: {hosts: hv1}}"),
    ),
    ("N020", _fabric("overlay: «vxlam»")),
    ("N020", _fabric("hosts: {hv1: {tunnel_ip: 172.31.0.1, gateway: «yes»}}")),
    ("N020", _fabric("hosts: {hv1: {tunnel_ip: 172.31.0.1, ovsdb: «'unix:db.sock'»}}")),
    ("N020", _fabric("hosts: {hv1: {tunnel_ip: 172.31.0.1, ovsdb: «'punix:/run/db.sock'»}}")),
    ("N022", _fabric("hosts: {hv1: {tunnel_ip: 172.31.0.1, ovsdb: «'tcp:172.31.0.1:0'»}}")),
    ("N023", _fabric("hosts: {hv1: {tunnel_ip: 172.31.0.1, ovsdb: «'ssl:fd00::1:6640'»}}")),
    ("N021", _fabric("tenants: {red: {segments: «1099-1000»}}")),
    ("N022", _fabric("mtu: «70000»")),
    ("N022", _fabric("mtu: «0x5dc»")),
    ("N022", _fabric("tenants: {red: {segments: [1-5, «16777216»]}}")),
    ("N022", _fabric("tenants: {red: {connections: «0»}}")),
    ("N023", _fabric("hosts: {hv1: {tunnel_ip: «172.31.0»}}")),
    ("N023", _fabric("hosts: {hv1: {tunnel_ip: «172.31.0.1/24»}}")),
    ("N023", _fabric("hosts: {hv1: {tunnel_ip: «'fe80::1%eth0'»}}")),
    ("N026", _fabric("hosts: {rack9: {tunnel_ip: 172.31.0.9, kind: vtep, «gateway»: true}}")),
    ("N027", _fabric("hosts: {hv1: {tunnel_ip: 172.31.0.1}, hv2: {tunnel_ip: «'fd00::1'»}}")),
    ("N030", _fabric("hosts: {hv1: {tunnel_ip: 172.31.0.1}, hv2: {tunnel_ip: «172.31.0.1»}}")),
    ("N033", _fabric("hosts: {hv1: {tunnel_ip: 172.31.0.1, id: 7}, hv2: {tunnel_ip: 172.31.0.2, id: «7»}}")),
    ("N033", _fabric("hosts: {hv1: {tunnel_ip: 172.31.0.1, bridges: «{»int: br0, tun: br0}}}")),
    ("N033", _fabric("hosts: {hv1: {tunnel_ip: 172.31.0.1}}\nphysical_networks: {int: {hosts: [«hv1»]}}")),
    ("N014", _fabric("hosts: {hv1: {tunnel_ip: 172.31.0.1}}\nphysical_networks: {p: {hosts: [hv1, «hv3»]}}")),
    ("N011", _fabric("hosts: {hv1: {tunnel_ip: 172.31.0.1}}\nphysical_networks: {p: {hosts: [hv1, «hv1»]}}")),
    ("N014", _fabric("tenants: {red: {vlans: {«physnet1»: 1-5}}}")),
    ("N040", _fabric("physical_networks: {p: {hosts: [], vlans: [10-15, 17]}}\ntenants: {red: {vlans: {p: «10-16»}}}")),
    ("N041", _fabric("tenants: {red: {segments: 1000-1099}, blue: {segments: «1099-1200»}}")),
    ("N041", _fabric("tenants: {red: {segments: [5-9, «7»]}}")),
    (
        "N041",
        _fabric(
            "physical_networks: {p: {hosts: [], vlans: 1-99}}\n"
            "tenants: {red: {vlans: {p: 10-15}}, blue: {vlans: {p: [1-5, «15-16»]}}}"
        ),
    ),
    ("N046", _fabric("hosts: {v: {tunnel_ip: 172.31.0.9, kind: vtep}}\nphysical_networks: {p: {hosts: «v»}}")),
    ("N052", _fabric("hosts: {hv1: {tunnel_ip: «127.0.0.1»}}")),
    ("N052", _fabric("hosts: {hv1: {tunnel_ip: «0.0.0.0»}}")),
]

_NET = "networks: {net: {cidr: 10.0.1.0/24}}\n"
_TWO = "networks: {net: {cidr: 10.0.1.0/24}, two: {cidr: [10.0.2.0/24, 'fd00::/64']}}\n"

_TWO_NETS = "networks: {net: {cidr: 10.0.1.0/24}, lan: {type: flat, physical_network: physnet1}}\n"
_GRE = "networks: {net: {cidr: 10.0.1.0/24}, gre: {type: gre}}\n"
_MAC = "ports: {a: {network: net, mac: '02:00:00:00:00:07', "

_MIXED = (
    _NET
    + "security_groups: {default: {ingress: [{from: {group: fast}}, {from: {group: web}}]}, fast: {stateless: true}, web: {}}\n"
)


_CORP = "address_groups: {{corp: {}}}\nsecurity_groups: {{default: {{ingress: [{{from: {{address_group: corp}}}}]}}}}\n"


def _rule(rule: str, direction: str = "ingress") -> str:
    return _NET + (
        f"security_groups:\n  web:\n    {direction}:\n      - {rule}\n  app: {{}}\n"
        "ports: {a: {network: net, security_groups: [web, app]}}\n"
    )


TENANT_CASES: list[tuple[str, str]] = [
    # What the YAML itself, and the schema, refuse.
    ("N010", "networks:\n«\t»web: {}\n"),
    ("N010", "networks: {web: {cidr: «@»1}}\n"),
    ("N011", "ports: {}\nnetworks:\n  web: {}\n  «web»: {}\n"),
    ("N012", "networks:\n  web: {«<<»: {}}\n"),
    ("N012", "networks:\n  web: «*»a\n"),
    ("N013", "networks: {n: {gateway: «[»" + "10.0.0.1, " * 65 + "]}}\n"),
    ("N015", "«network»: {}\n"),
    ("N015", "networks: {net: {«cird»: 10.0.0.0/24}}\n"),
    ("N015", "n«е»tworks: {}\n".replace("n«е»tworks", "«nеtworks»")),  # noqa: RUF001 A Cyrillic letter is the point.
    ("N015", _rule("{protocol: tcp, «to»: {cidr: 10.0.0.0/8}}")),
    ("N016", "«qos»: {}\n"),
    ("N016", "«mirrors»: {}\n"),
    ("N016", _NET + "ports: {a: {network: net, «qos»: gold}}\n"),
    ("N016", "port_groups: {web: {«qos»: gold}}\n"),
    ("N017", "ports:\n  «a»: {}\n"),
    ("N017", "port_groups: {web: {}}\nports:\n  «a»: {port_group: web}\n"),
    ("N017", "networks:\n  «net»: {type: flat}\n"),
    ("N017", _NET + "ports: {a: {network: net}, b: {network: net}}\ntests:\n  - «{»from: a, to: b}\n"),
    ("N018", "«-» networks\n"),
    ("N018", "networks: «web»\n"),
    ("N018", "networks: {net: {«cidr»: }}\n"),
    ("N018", _rule("{from: «10.0.0.0/8»}")),
    ("N018", "security_groups: {default: {ingress: «all»}}\n"),
    ("N018", "networks: {«[»a, b]: {}}\n"),
    ("N018", _NET + "ports: {a: {network: net, host: «[»hv1]}}\n"),
    ("N019", "networks: {«Web»: {}}\n"),
    ("N019", "networks: {«wеb»: {}}\n"),  # noqa: RUF001
    ("N019", "networks: {«" + "x" * 32 + "»: {}}\n"),
    ("N019", _NET + "ports: {a: {network: «net/net/net»}}\n"),
    ("N020", "networks: {net: {type: «vlxan»}}\n"),
    ("N020", _rule("{protocol: «tpc»}")),
    ("N020", _NET + "ports: {a: {network: net, port_security: «no»}}\n"),
    ("N020", _rule("{protocol: tcp, enforce: «off»}")),
    ("N020", _rule("{protocol: tcp, log: «1»}")),
    ("N020", "security_groups: {default: {stateless: «maybe»}}\n"),
    ("N020", _NET + "ports: {a: {network: net, ethertypes: «lpdp»}}\n"),
    ("N020", _NET + "ports: {a: {network: net, ethertypes: [«88cc»]}}\n"),
    ("N021", _rule("{protocol: tcp, ports: [80, «3306-330»]}")),
    ("N022", _rule("{protocol: tcp, ports: «65536»}")),
    ("N022", _rule("{protocol: «256»}")),
    ("N022", _NET + "ports: {a: {network: net, new_connections: «1000/min»}}\n"),
    ("N022", _NET + "ports: {a: {network: net, new_connections: «0/s»}}\n"),
    ("N022", "port_groups: {web: {new_connections: «many»}}\n"),
    ("N022", "port_groups: {web: {ethertypes: [lldp, «0x05ff»]}}\n"),
    ("N022", "port_groups: {web: {ethertypes: «0x10000»}}\n"),
    ("N022", "networks: {net: {type: vlan, physical_network: physnet1, segment: «4095»}}\n"),
    ("N022", "networks: {net: {segment: «" + "9" * 30 + "»}}\n"),
    ("N023", "networks: {net: {cidr: «10.0.1.0»}}\n"),
    ("N023", "networks: {net: {cidr: «10.0.1.0/33»}}\n"),
    ("N023", "networks: {net: {cidr: «10.0.1.0/255.255.255.0»}}\n"),
    ("N023", "address_groups:\n  corp:\n    - 10.0.0.0/8\n    - «10.0.0.0/x»\n"),
    ("N023", "address_groups: {corp: {cidrs: [10.0.0.0/8, «nowhere»]}}\n"),
    ("N023", "address_groups: {corp: «nowhere»}\n"),
    ("N018", "address_groups: {corp: [10.0.0.0/8, «[»10.0.0.1]]}\n"),
    ("N018", "address_groups: «[»10.0.0.0/8]\n"),
    ("N015", "address_groups: {corp: {«cidr»: 10.0.0.0/8}}\n"),
    ("N024", "address_groups: {corp: [«10.0.0.1/8»]}\n"),
    ("N024", "networks: {net: {cidr: «10.0.1.5/24»}}\n"),
    ("N024", "networks: {net: {cidr: [«'fd00::5/64'»]}}\n"),
    ("N025", _NET + "ports: {a: {network: net, mac: «'01:00:5e:00:00:01'»}}\n"),
    ("N025", _NET + "ports: {a: {network: net, mac: «02-00-00-00-00-01»}}\n"),
    ("N025", _NET + "ports: {a: {network: net, mac: «'00:00:00:00:00:00'»}}\n"),
    # Names.
    ("N014", _NET + "ports: {a: {network: «nte»}}\n"),
    ("N014", _NET + "ports: {a: {network: net, host: «hv4»}}\n"),
    ("N014", _NET + "ports: {a: {network: net, port_group: «web»}}\n"),
    ("N014", _NET + "ports: {a: {network: net, security_groups: [default, «web»]}}\n"),
    ("N014", _NET + "ports: {a: {network: «green/net»}}\n"),
    ("N014", _rule("{from: {group: «wbe»}}")),
    ("N014", "networks: {net: {share: [blue, «bleu»]}}\n"),
    ("N014", "networks: {net: {type: flat, physical_network: «physnet3»}}\n"),
    ("N014", _NET + "ports: {a: {network: net}}\ntests: [{from: a, to: «b», expect: deny}]\n"),
    ("N014", _NET + "ports: {a: {network: net}}\ntests: [{from: a, to: «blue/b», expect: deny}]\n"),
    ("N014", _NET + "ports: {a: {network: net}}\ntests: [{from: a, to: «green/b», expect: deny}]\n"),
    ("N042", _NET + "ports: {a: {network: «blue/net»}}\n"),
    ("N042", _rule("{from: {group: «blue/default»}}")),
    ("N042", _rule("{to: [{cidr: 10.0.0.0/8}, {address_group: «blue/corp»}]}", "egress")),
    ("N042", _NET + "ports: {a: {network: net, security_groups: [default, «blue/default»]}}\n"),
    ("N042", "port_groups: {web: {security_groups: «blue/web»}}\n"),
    ("N014", _rule("{from: {group: «green/web»}}")),
    ("N014", _rule("{from: {address_group: «corp»}}")),
    ("N014", "security_groups: {default: {share: «bleu»}}\n"),
    ("N014", "address_groups: {corp: {share: [blue, «green»]}}\n"),
    # Keys that do not go together.
    ("N026", "networks: {net: {type: local, «segment»: 1000}}\n"),
    ("N026", "tests: [{from: 192.0.2.1, to: «192.0.2.2», expect: deny}]\n"),
    ("N026", "networks: {net: {«physical_network»: physnet1}}\n"),
    ("N026", "networks: {net: {«gateway»: 10.0.0.1}}\n"),
    ("N026", "networks: {net: {cidr: 10.0.1.0/24, gateway: [10.0.1.1, «10.0.1.2»]}}\n"),
    ("N026", "networks: {net: {share: «red»}}\n"),
    ("N014", "networks: {net: {share: «any»}}\n"),
    ("N026", "security_groups: {default: {share: [any, «red»]}}\n"),
    ("N026", "address_groups: {corp: {share: «red»}}\n"),
    ("N026", _rule("{from: «{»cidr: 10.0.0.0/8, address_group: app}}")),
    ("N026", _rule("{protocol: icmp, «ports»: 80}")),
    ("N026", _rule("{«ports»: 80}")),
    ("N026", _rule("{protocol: tcp, «type»: 8}")),
    ("N026", _rule("{protocol: icmp, «code»: 0}")),
    ("N026", _rule("{from: «[»]}")),
    ("N026", _rule("{protocol: tcp, ports: «[»]}")),
    ("N026", _rule("{from: «{»cidr: 10.0.0.0/8, group: app}}")),
    ("N026", _rule("{to: [«{»}]}", "egress")),
    ("N026", _NET + "ports: {a: {network: net}}\ntests: [{from: a, to: 10.0.0.1, «port»: 80, expect: deny}]\n"),
    ("N027", _rule("{protocol: icmp, ethertype: «ipv6»}")),
    ("N027", _rule("{ethertype: ipv6, from: «{»cidr: 10.0.0.0/8}}")),
    ("N027", _rule("{protocol: icmpv6, to: «[»{cidr: 10.0.0.0/8}]}", "egress")),
    # Kinds of frames and of groups.
    ("N028", _NET + "ports: {a: {network: net, ethertypes: [lldp, «0x0800»]}}\n"),
    ("N028", _NET + "ports: {a: {network: net, ethertypes: «arp»}}\n"),
    ("N028", "port_groups: {web: {ethertypes: «0x86DD»}}\n"),
    ("N028", "port_groups: {web: {ethertypes: [«33024»]}}\n"),
    ("N028", "port_groups: {web: {ethertypes: [«0x88a8»]}}\n"),
    ("N029", _MIXED + "ports: {a: {network: net, security_groups: [fast, «web»]}}\n"),
    (
        "N029",
        _MIXED + "port_groups: {all: {network: net, security_groups: [web, «fast»]}}\nports: {a: {port_group: all}}\n",
    ),
    ("N029", _MIXED + "ports: {a: {network: net, security_groups: [default, «fast», web]}}\n"),
    # Addresses.
    ("N030", _NET + "ports: {a: {network: net, ip: 10.0.1.5}, b: {network: net, ip: [«10.0.1.5»]}}\n"),
    ("N030", _NET + "ports: {a: {network: net, ip: [10.0.1.5, «10.0.1.5»]}}\n"),
    (
        "N031",
        "networks: {net: {}}\nports: {a: {network: net, mac: '02:00:00:00:00:01'}, b: {network: net, mac: «'02:00:00:00:00:01'»}}\n",
    ),
    ("N050", _TWO + "ports: {a: {network: two, ip: [10.0.2.5, «10.0.1.5»]}}\n"),
    ("N050", "networks: {net: {}}\nports: {a: {network: net, ip: «10.0.1.5»}}\n"),
    ("N050", "networks: {net: {cidr: 10.0.1.0/24, gateway: «10.0.2.1»}}\n"),
    ("N051", _NET + "ports: {a: {network: net, ip: «10.0.1.1»}}\n"),
    ("N051", _NET + "ports: {a: {network: net, ip: «10.0.1.0»}}\n"),
    ("N051", _NET + "ports: {a: {network: net, ip: «10.0.1.255»}}\n"),
    ("N051", _TWO + "ports: {a: {network: two, ip: «'fd00::'»}}\n"),
    ("N051", "networks: {net: {cidr: 10.0.1.0/24, gateway: «10.0.1.255»}}\n"),
    ("N052", "networks: {net: {cidr: «224.0.0.0/24»}}\n"),
    ("N052", "networks: {net: {cidr: «0.0.0.0/0»}}\n"),
    ("N052", "networks: {net: {cidr: «'fe80::/64'»}}\n"),
    ("N052", "networks: {net: {cidr: «'::/0'»}}\n"),
    ("N052", _NET + "ports: {a: {network: net, ip: «'ff02::1'»}}\n"),
    ("N053", "networks: {net: {cidr: [10.0.0.0/16, «10.0.1.0/24»]}}\n"),
    # Grants, quotas, hosts.
    ("N032", "networks: {net: {segment: 1000}, two: {segment: «1000»}}\n"),
    (
        "N034",
        "networks: {net: {type: flat, physical_network: physnet1}, two: {type: flat, physical_network: «physnet1»}}\n",
    ),
    ("N040", "networks: {net: {segment: «1100»}}\n"),
    ("N040", "networks: {net: {type: vlan, physical_network: physnet1, segment: «120»}}\n"),
    ("N040", "networks: {net: {type: flat, physical_network: «physnet2»}}\n"),
    ("N043", "networks: {net: {cidr: «10.0.1.0/30»}}\nports: {a: {network: net}, b: {network: net}}\n"),
    ("N045", "networks: {net: {type: flat, physical_network: physnet1}}\nports: {a: {network: net, host: «hv2»}}\n"),
    # Trunks.
    ("N014", _TWO + "ports: {a: {network: net, trunk: {5: «twoo»}}}\n"),
    ("N014", _TWO + "ports: {a: {network: net, trunk: {5: {network: two, security_groups: [«web»]}}}}\n"),
    ("N014", _TWO + "ports: {a: {network: net, trunk: {5: two}}}\ntests: [{from: «'a:6'», to: a, expect: deny}]\n"),
    ("N015", _TWO + "ports: {a: {network: net, trunk: {5: {network: two, «host»: hv1}}}}\n"),
    ("N017", _TWO + "ports: {a: {network: net, trunk: {«5»: {ip: 10.0.2.7}}}}\n"),
    ("N018", _TWO + "ports: {a: {network: net, trunk: {5: «[»two]}}}\n"),
    ("N022", _TWO + "ports: {a: {network: net, trunk: {«0»: two}}}\n"),
    ("N022", _TWO + "ports: {a: {network: net, trunk: {«4095»: two}}}\n"),
    ("N022", _TWO + "ports: {a: {network: net, trunk: {«05»: two}}}\n"),
    ("N022", _TWO + "ports: {a: {network: net, trunk: {«five»: two}}}\n"),
    ("N031", _TWO + _MAC + "trunk: {5: two}}, b: {network: two, mac: «'02:00:00:00:00:07'»}}\n"),
    ("N035", _TWO + "ports: {a: {network: net, trunk: {5: «net»}}}\n"),
    ("N035", _TWO + "ports: {a: {network: net, trunk: {5: two, 6: {network: «two»}}}}\n"),
    ("N042", _NET + "ports: {a: {network: net, trunk: {5: «blue/secret»}}}\n"),
    ("N045", _TWO_NETS + "ports: {a: {network: net, host: hv2, trunk: {5: «lan»}}}\n"),
    ("N046", _GRE + "ports: {a: {network: net, host: rack9, trunk: {5: «gre»}}}\n"),
    ("N050", _TWO + "ports: {a: {network: net, trunk: {5: {network: two, ip: «10.0.1.7»}}}}\n"),
    ("N046", "networks: {net: {type: gre}}\nports: {a: {network: net, host: «rack9»}}\n"),
    # Warnings.
    ("W001", "security_groups: {«web»: {}}\n"),
    ("W001", "address_groups: {«corp»: 10.0.0.0/8}\n"),
    ("W001", "security_groups: {«web»: {}}\nport_groups: {all: {security_groups: default}}\n"),
    ("W002", _rule("{protocol: tcp}\n      - «{»protocol: tcp, ports: 22, enforce: false}")),
    ("W004", _CORP.format("[10.0.0.0/8, 192.0.2.7, «192.0.2.7/32»]")),
    ("W004", _CORP.format("{cidrs: ['fd00::/8', «'fd00:0::/8'»]}")),
    ("W005", _NET + "ports: {a: {network: net, port_security: false, «ethertypes»: lldp}}\n"),
    ("W005", _rule("{protocol: icmp, «type»: 3, code: 4}")),
    ("W005", _rule("{protocol: icmpv6, «type»: 135}", "egress")),
    ("W005", "port_groups: {all: {port_security: false, «new_connections»: 10/s}}\n"),
    ("W005", _MIXED + "ports: {a: {network: net, security_groups: fast, «new_connections»: 10}}\n"),
    (
        "W005",
        _NET
        + "security_groups: {new: {«enforce»: false}}\nports: {a: {network: net, security_groups: [default, new]}}\n",
    ),
    (
        "W002",
        _rule(
            "{protocol: tcp, from: {cidr: 10.0.0.0/8}}\n      - «{»protocol: tcp, ports: 22, from: {cidr: 10.1.0.0/16}}"
        ),
    ),
    ("W002", _rule("{protocol: icmp}\n      - «{»protocol: icmp, type: 8}")),
    ("W002", _rule("{from: [{group: app}, {cidr: 10.0.0.0/8}]}\n      - «{»protocol: udp, from: {group: app}}")),
]
