"""The options that name a private key, a certificate and the CA of those at the other end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from controller.cli.output import Exit, leave

_FILE = click.Path(path_type=Path, dir_okay=False)


def tls_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb `--pki DIR`, and `--tls-key`, `--tls-cert` and `--tls-ca` for files of other names."""
    for option in (
        click.option("--tls-ca", metavar="FILE", type=_FILE, help="The CA of those at the other end."),
        click.option("--tls-cert", metavar="FILE", type=_FILE, help="The certificate, PEM."),
        click.option(
            "--tls-key", metavar="FILE", type=_FILE, help="The private key, PEM, for TLS; needs the other two."
        ),
        click.option(
            "--pki",
            metavar="DIR",
            type=click.Path(path_type=Path, file_okay=False),
            help="A folder with key.pem, cert.pem and ca.pem, as `weft pki` makes them.",
        ),
    ):
        function = option(function)
    return function


def chosen(pki: Path | None, key: Path | None, cert: Path | None, ca: Path | None) -> tuple[Path, Path, Path] | None:
    """Return key, certificate and CA as absolute paths, None if TLS is not asked for; leave if it is asked for by half."""
    files = {"--tls-key": key, "--tls-cert": cert, "--tls-ca": ca}
    given = [file for file in files.values() if file is not None]
    if pki is not None:
        if given:
            leave(Exit.BAD_INPUT, f"--pki names all files; leave out {', '.join(files)}")
        given = [pki / "key.pem", pki / "cert.pem", pki / "ca.pem"]
    if not given:
        return None
    missing = [option for option, file in files.items() if file is None]
    if pki is None and missing:
        leave(Exit.BAD_INPUT, f"TLS needs {', '.join(files)}; there is no {' and no '.join(missing)}")
    for file in given:
        if not file.is_file():
            leave(Exit.BAD_INPUT, f"{file}: no such file")
    resolved = [file.resolve() for file in given]
    return resolved[0], resolved[1], resolved[2]
