"""One small file for each kind of problem with ways between networks and out of the fabric; `«…»` marks the offending text."""

from __future__ import annotations


def _out(keys: str, rest: str = "") -> str:
    networks = f"external_networks: {{out: {{physical_network: p, {keys}}}{rest}}}\n"
    return "fabric: test\nphysical_networks: {p: {hosts: [], vlans: 1-99}}\n" + networks


FABRIC_CASES: list[tuple[str, str]] = [
    ("N014", "fabric: test\nexternal_networks: {out: {physical_network: «p», cidr: 192.0.2.0/24}}\n"),
    ("N017", "fabric: test\nphysical_networks: {p: {hosts: []}}\nexternal_networks:\n  «out»: {physical_network: p}\n"),
    ("N018", _out("cidr: «[»]")),
    ("N021", _out("cidr: 192.0.2.0/24, pool: «192.0.2.9-192.0.2.5»")),
    ("N022", _out("cidr: 192.0.2.0/24, vlan: «4095»")),
    ("N022", _out("cidr: 192.0.2.0/24, mtu: «100»")),
    ("N023", _out("cidr: 192.0.2.0/24, pool: [192.0.2.5, «192.0.2.7-9»]")),
    ("N024", _out("cidr: «192.0.2.5/24»")),
    ("N026", _out("cidr: [192.0.2.0/24, 198.51.100.0/24], gateway: [192.0.2.1, «198.51.100.1»]")),
    ("N027", _out("cidr: 192.0.2.0/24, pool: «'192.0.2.7-2001:db8::9'»")),
    ("N032", _out("vlan: 5, cidr: 192.0.2.0/24", ", up: {physical_network: p, vlan: «5», cidr: 198.51.100.0/24}")),
    ("N034", _out("cidr: 192.0.2.0/24", ", up: {physical_network: «p», cidr: 198.51.100.0/24}")),
    ("N041", _out("vlan: «15», cidr: 192.0.2.0/24") + "tenants: {red: {vlans: {p: [5, 10-19]}}}\n"),
    ("N050", _out("cidr: 192.0.2.0/24, gateway: «198.51.100.1»")),
    ("N050", _out("cidr: [192.0.2.0/25, 192.0.2.128/25], pool: «192.0.2.120-192.0.2.140»")),
    ("N051", _out("cidr: 192.0.2.0/24, gateway: «192.0.2.255»")),
    ("N051", _out("cidr: 192.0.2.0/24, pool: «192.0.2.0-192.0.2.9»")),
    ("N051", _out("cidr: 192.0.2.0/24, gateway: 192.0.2.5, pool: [192.0.2.20, «192.0.2.2-192.0.2.9»]")),
    ("N054", _out("cidr: 'fd00::/64', mtu: «1279»")),
    ("N053", _out("cidr: [192.0.2.0/24, «192.0.2.64/26»]")),
    ("N053", _out("cidr: 192.0.2.0/24, pool: [192.0.2.5-192.0.2.9, «192.0.2.2-192.0.2.5»]")),
]

_NETWORKS = "networks: {web: {cidr: 10.0.1.0/24}, db: {cidr: [10.0.2.0/24, 'fd00:2::/64']}, bare: {}}\n"
_WEB = _NETWORKS + "ports: {a: {network: web, ip: 10.0.1.5}}\n"


def _slaac(ports: str, gateway: str = "fd00::1") -> str:
    return f"networks: {{net: {{cidr: 'fd00::/64', ipv6: slaac, gateway: '{gateway}'}}}}\nports: {{{ports}}}\n"


def _router(keys: str) -> str:
    return _WEB + f"routers: {{main: {{networks: [web, db], {keys}}}}}\n"


def _route(to: str, via: str) -> str:
    return _router(f"external: public, routes: [{{to: {to}, via: {via}}}]")


def _floating(entries: str, router: str = "{networks: [web, db], external: public}") -> str:
    ports = (
        "b: {network: db, ip: [10.0.2.5, 10.0.2.6, 'fd00:2::5']}, c: {network: bare}, d: {network: db, ip: 10.0.2.7}"
    )
    return (
        _WEB.replace("ports: {", f"ports: {{{ports}, ") + f"routers: {{main: {router}}}\nfloating_ips: {{{entries}}}\n"
    )


TENANT_CASES: list[tuple[str, str]] = [
    # What networks tell.
    ("N020", "networks: {net: {cidr: 10.0.1.0/24, ipv6: «auto»}}\n"),
    ("N020", "networks: {net: {cidr: 10.0.1.0/24, dhcp: «off»}}\n"),
    ("N022", "networks: {net: {cidr: 10.0.1.0/24, lease: «59»}}\n"),
    ("N022", "networks: {net: {cidr: 10.0.1.0/24, lease: «1w»}}\n"),
    ("N022", "networks: {net: {cidr: 10.0.1.0/24, lease: «366d»}}\n"),
    ("N023", "networks: {net: {cidr: 10.0.1.0/24, dns: [10.0.0.1, «ns1»]}}\n"),
    ("N026", "networks: {net: {«dhcp»: true}}\n"),
    ("N026", "networks: {net: {cidr: 10.0.1.0/24, «ipv6»: slaac}}\n"),
    ("N052", "networks: {net: {cidr: 10.0.1.0/24, dns: «127.0.0.53»}}\n"),
    ("N055", "networks: {net: {cidr: [10.0.1.0/24, «'fd00:1::/80'»], ipv6: stateless}}\n"),
    ("N057", "networks: {net: {cidr: 10.0.1.0/24, domain: «-example.org»}}\n"),
    ("N057", "networks: {net: {cidr: 10.0.1.0/24, domain: «example..org»}}\n"),
    ("W005", "networks: {net: {cidr: 10.0.1.0/24, dhcp: false, «domain»: example.org}}\n"),
    ("W005", "networks: {net: {«dns»: 10.0.0.1}}\n"),
    # Addresses that are made of MACs.
    ("N030", _slaac("a: {network: net, «mac»: '02:00:00:00:00:01'}, b: {network: net, ip: 'fd00::ff:fe00:1'}")),
    ("N051", _slaac("a: {network: net, «mac»: '02:00:00:00:00:01'}", "fd00::ff:fe00:1")),
    # Routers.
    ("N014", _WEB + "routers: {main: {networks: [web, «dbs»]}}\n"),
    ("N014", _router("external: «publik»")),
    ("N015", _router("«extern»: public")),
    ("N019", _WEB + "routers: {main: {networks: «blue/web»}}\n"),
    ("N020", _router("external: public, snat: «yes»")),
    ("N026", _router("«snat»: false")),
    ("N026", _router("«address»: 203.0.113.12")),
    ("N026", _router("external: public, address: [203.0.113.12, «203.0.113.13»]")),
    ("N036", _WEB + "routers: {main: {networks: [web, db, «web»]}}\n"),
    ("N036", _WEB + "routers: {main: {networks: [web]}, more: {networks: [db, «web»]}}\n"),
    ("N047", _router("external: public, address: «203.0.113.20»")),
    ("N047", _router("external: public, address: [203.0.113.12, «198.51.100.2»]")),
    ("N051", _router("external: public, address: «203.0.113.1»")),
    ("N053", "networks: {a: {cidr: 10.0.0.0/16}, b: {cidr: 10.0.1.0/24}}\nrouters: {main: {networks: [a, «b»]}}\n"),
    ("N053", "networks: {a: {cidr: 10.0.0.0/16}, b: {cidr: 10.0.1.0/24}}\nrouters: {main: {networks: [b, «a»]}}\n"),
    ("N053", "networks: {a: {cidr: 203.0.113.128/25}}\nrouters: {main: {networks: «a», external: public}}\n"),
    ("N056", _WEB + "routers: {main: {networks: [web, «bare»]}}\n"),
    ("W007", _WEB + "routers: {main: {networks: [web], external: «lab»}}\n"),
    # Routes.
    (
        "N011",
        _router(
            "routes: [{to: 0.0.0.0/0, via: 10.0.1.5}, {to: 0.0.0.0/0, via: 10.0.2.5}, «{»to: 0.0.0.0/0, via: 10.0.1.5}]"
        ),
    ),
    ("N017", _router("routes: [«{»to: 0.0.0.0/0}]")),
    ("N023", _route("«default»", "10.0.1.5")),
    ("N024", _route("«10.9.0.1/16»", "10.0.1.5")),
    ("N027", _route("10.9.0.0/16", "«'fd00:2::9'»")),
    ("N037", _route("«10.0.2.0/24»", "10.0.1.5")),
    ("N037", _route("«10.0.2.9»", "10.0.1.5")),
    ("N037", _route("«203.0.113.64/26»", "10.0.1.5")),
    ("N050", _route("10.9.0.0/16", "«10.9.0.1»")),
    ("N051", _route("10.9.0.0/16", "«10.0.1.1»")),
    ("N051", _route("10.9.0.0/16", "«10.0.1.255»")),
    ("N051", _router("external: public, address: 203.0.113.12, routes: {to: 10.9.0.0/16, via: «203.0.113.12»}")),
    ("N052", _route("«224.0.0.0/4»", "10.0.1.5")),
    ("N052", _route("«'fe80::/10'»", "'fd00:2::9'")),
    # Floating IPs.
    ("N014", _floating("203.0.113.12: «e»")),
    ("N014", _floating("203.0.113.12: {port: «'a:5'»}")),
    ("N015", _floating("203.0.113.12: {port: a, «fixed»: 10.0.1.5}")),
    ("N017", _floating("«203.0.113.12»: ")),
    ("N018", _floating("203.0.113.12: «[»a]")),
    ("N019", _floating("203.0.113.12: «blue/a»")),
    ("N023", _floating("«203.0.113»: a")),
    ("N027", _floating("203.0.113.12: {port: b, ip: «'fd00:2::5'»}")),
    ("N030", _floating("'2001:db8::12': b, «'2001:DB8:0::12'»: b")),
    ("N030", _floating("203.0.113.12: a, 203.0.113.13: «a»")),
    ("N030", _floating("203.0.113.12: {port: b, ip: 10.0.2.5}, 203.0.113.13: {port: b, ip: «10.0.2.5»}")),
    ("N030", _floating("«203.0.113.12»: a", "{networks: [web, db], external: public, address: 203.0.113.12}")),
    ("N038", _floating("203.0.113.12: «c»")),
    ("N038", _floating("203.0.113.12: {port: «a», ip: 10.0.1.5}", "{networks: [web, db]}")),
    ("N039", _floating("203.0.113.12: «b»")),
    ("N039", _floating("203.0.113.12: {port: b, ip: «10.0.2.9»}")),
    ("N039", _floating("'2001:db8::12': «d»")),
    ("N047", _floating("«203.0.113.9»: a")),
    ("N047", _floating("«198.51.100.2»: a")),
    ("N051", _floating("«203.0.113.1»: a")),
]
