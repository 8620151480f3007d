"""Flows by hand for the small fabric, so that the lab and the probes are tested without a controller."""

from __future__ import annotations

from controller.lab.lab import Lab

PEERS = {"hv1": ("hv2", "red.web1", "red.lan1"), "hv2": ("hv1", "red.web2", "red.lan2")}


def wire(lab: Lab) -> None:
    """Join red's VXLAN network across hv1, hv2 and rack9, and red's flat network; blue gets nothing."""
    tunnel_ips = {name: host.tunnel_address.partition("/")[0] for name, host in lab.plan.hosts.items()}
    for host, (peer, web, lan) in PEERS.items():
        copies = ",".join(f"set_field:{tunnel_ips[other]}->tun_dst,output:vxlan" for other in (peer, "rack9"))
        flows = {
            "br-int": [
                f"in_port={web},actions=output:patch-tun",
                f"in_port=patch-tun,actions=output:{web}",
                f"in_port={lan},actions=output:pp-physnet1",
                f"in_port=pp-physnet1,actions=output:{lan}",
            ],
            "br-physnet1": ["in_port=pi-physnet1,actions=output:eth1", "in_port=eth1,actions=output:pi-physnet1"],
            "br-tun": [
                f"in_port=patch-int,actions=set_field:1000->tun_id,{copies}",
                "in_port=vxlan,tun_id=1000,actions=output:patch-int",
            ],
        }
        for bridge, lines in flows.items():
            for line in lines:
                done = lab.exec_host(host, ["ovs-ofctl", "add-flow", bridge, line])
                assert done.returncode == 0, done.stderr
