"""The command-line options of `osken-manager`, those of os-ken 3.1's manager and our own, in os-ken's one configuration."""

from __future__ import annotations

# Importing os-ken's modules registers their options; app_manager comes first, as the others need it.
import os_ken.base.app_manager
import os_ken.controller.controller
import os_ken.flags
import os_ken.log
import os_ken.topology.switches  # noqa: F401
from os_ken import cfg

CONF = cfg.CONF

CONF.register_cli_opts(
    [
        cfg.ListOpt("app-lists", default=[], help="application module name to run"),
        cfg.MultiStrOpt("app", positional=True, default=[], help="application module name to run"),
        cfg.StrOpt("pid-file", default=None, help="pid file name"),
        cfg.BoolOpt("enable-debugger", default=False, help="accepted for compatibility; debuggers always work"),
        cfg.StrOpt("user-flags", default=None, help="Additional flags file for user applications"),
        cfg.StrOpt("topology", default=None, help="controller.app: the topology's folder"),
        cfg.FloatOpt(
            "audit-interval", default=60.0, help="controller.app: seconds between two audits of a switch; 0: none"
        ),
        cfg.StrOpt(
            "connection-log",
            default=None,
            help="controller.app: the file for what rules and groups with `log: true` let in and drop; the log by default",
        ),
        cfg.StrOpt("control", default=None, help="controller.app: the socket that `weft status` asks"),
    ]
)
