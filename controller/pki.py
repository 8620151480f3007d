"""A fabric's certificates: two authorities, the controller's certificate and one for every host.

    PKI/ca/controller.{key,pem}    signs the controller's certificate; hosts trust it
    PKI/ca/hosts.{key,pem}         signs the hosts' certificates; the controller trusts it
    PKI/controller/                key.pem, cert.pem and ca.pem, what the controller needs
    PKI/hosts/HOST/                key.pem, cert.pem and ca.pem, what a host needs

There are two because Open vSwitch asks no controller for its name: with one authority for all, whoever takes a host's key
could be every other host's controller. `ovs-pki` has two for the same reason.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CONTROLLER = "controller"

_CA_DAYS = 3650
_BEFORE = dt.timedelta(hours=1)  # A host's clock may be behind.


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that lies in its place now.

    `name` is the host's, or `controller`; `directory` holds its three files; `until` is when it expires; `is_new` says
    whether it was made just now.
    """

    name: str
    directory: Path
    until: dt.datetime
    is_new: bool


class _Authority:
    """A certificate authority in two files, made when there is none."""

    def __init__(self, directory: Path, name: str) -> None:
        key_file, self._file = directory / f"{name}.key", directory / f"{name}.pem"
        if self._file.exists():
            self._key = _read_key(key_file)
            self.certificate = x509.load_pem_x509_certificate(self._file.read_bytes())
            return
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(f"{name} CA")
        usage = _usage(is_authority=True)
        extensions = [(x509.BasicConstraints(ca=True, path_length=0), True), (usage, True)]
        self.certificate = _sign(self._key, subject, self._key, subject, _from_now(_CA_DAYS), extensions)
        _write(key_file, _key_text(self._key))
        _write(self._file, _text(self.certificate))

    def issue(self, directory: Path, name: str, days: int, trusted: _Authority) -> dt.datetime:
        """Write a new key, its certificate and the authority that its owner trusts; return when it expires."""
        until = min(_from_now(days), self.certificate.not_valid_after_utc)
        key = ec.generate_private_key(ec.SECP256R1())
        # A host is a server, too, where the controller reads its database.
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
        extensions = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(is_authority=False), True),
            (both, False),
            (x509.SubjectAlternativeName([x509.DNSName(name)]), False),
        ]
        certificate = _sign(key, _subject(name), self._key, self.certificate.subject, until, extensions)
        # The certificate comes last: where it lies nothing is missing.
        _write(directory / "ca.pem", _text(trusted.certificate))
        _write(directory / "key.pem", _key_text(key))
        _write(directory / "cert.pem", _text(certificate))
        return certificate.not_valid_after_utc


def issue(directory: Path, names: Iterable[str], *, days: int, force: bool) -> list[Issued]:
    """Make the certificates that are missing, and the authorities if there are none.

    Args:
        directory: The folder of all of it; it is made, and its keys are for its owner alone.
        names: Hosts, and `controller`.
        days: How long a new certificate is valid, at most until its authority's end.
        force: Whether to make new keys and certificates where there are some; the authorities stay.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: A file that is there is no certificate or key.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    (directory / "hosts").mkdir(mode=0o700, exist_ok=True)
    of_controller, of_hosts = _Authority(directory / "ca", "controller"), _Authority(directory / "ca", "hosts")
    found = []
    for name in names:
        place = directory / CONTROLLER if name == CONTROLLER else directory / "hosts" / name
        if (place / "cert.pem").exists() and not force:
            there = x509.load_pem_x509_certificate((place / "cert.pem").read_bytes())
            found.append(Issued(name, place, there.not_valid_after_utc, is_new=False))
            continue
        signer, trusted = (of_controller, of_hosts) if name == CONTROLLER else (of_hosts, of_controller)
        found.append(Issued(name, place, signer.issue(place, name, days, trusted), is_new=True))
    return found


def _subject(name: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Weft"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(
    key: ec.EllipticCurvePrivateKey,
    subject: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    until: dt.datetime,
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    """Return the certificate of `key`, with a random serial number."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_from_now(0) - _BEFORE)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(signer, hashes.SHA256())


def _from_now(days: int) -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=days)


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{path} is not a key that weft pki made")
    return key


def _key_text(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _text(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, text: bytes) -> None:
    """Put a file in its place, whole and for its owner alone, whatever was there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
