"""Certificates of a private CA, as a cloud has them inside."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.cloud import glance as cloud_glance

_DAY = datetime.timedelta(days=1)


class Authority:
    """A CA that nobody knows unless they are told.

    :param root: an existing directory for its files
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name('private CA')
        use = {'key_cert_sign': True, 'crl_sign': True}
        own = self._builder(self._name, self._key.public_key(), **use)
        ca = own.add_extension(x509.BasicConstraints(True, 0), critical=True)
        #: Its own certificate, for those who are to trust it.
        self.certificate = self._write('ca.pem', self._sign(ca))

    def issue(self, name: str) -> Path:
        """Return a file with a certificate for this machine, and its key.

        It is good for a server and for a client.

        :param name: of the file
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(
            _name(name), key.public_key(), digital_signature=True
        )
        address = x509.IPAddress(ipaddress.ip_address(cloud_glance.LOCALHOST))
        here = x509.SubjectAlternativeName([address])
        return self._write(
            f'{name}.pem',
            self._sign(builder.add_extension(here, critical=False)),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, **use: bool
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        uses = (
            *('digital_signature', 'content_commitment', 'key_encipherment'),
            *('data_encipherment', 'key_agreement', 'key_cert_sign'),
            *('crl_sign', 'encipher_only', 'decipher_only'),
        )
        # OpenSSL is strict since Python 3.13: each of these has to be there.
        extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (
            (x509.KeyUsage(**{**dict.fromkeys(uses, False), **use}), True),
            (x509.SubjectKeyIdentifier.from_public_key(key), False),
            (
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    self._key.public_key()
                ),
                False,
            ),
        )
        builder = x509.CertificateBuilder(
            self._name,
            subject,
            key,
            x509.random_serial_number(),
            now - _DAY,
            now + _DAY,
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder

    def _sign(self, builder: x509.CertificateBuilder) -> bytes:
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def _write(self, name: str, *parts: bytes) -> Path:
        path = self._root / name
        path.write_bytes(b''.join(parts))
        return path


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
