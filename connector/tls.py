"""The client's side of a TLS connection, as configured. Contexts only: nothing is connected here, and no passphrase of
a key may end up anywhere but in OpenSSL."""

from __future__ import annotations

import ssl
from functools import cache

from connector.errors import CertificateRefused, ConfigurationError
from connector.settings import TlsSettings


def client_context(tls: TlsSettings, section: str) -> ssl.SSLContext:
    """section: where `tls` stands in the configuration, for the error. Raises ConfigurationError when a file cannot be
    used."""
    passphrase = tls.key_password.get_secret_value() if tls.key_password else ""
    try:
        context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
        # Authorities that database servers make for themselves lack extensions that the strict check asks for. What
        # counts stays checked: who signed, the name, the dates.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if tls.cert:
            # With a passphrase given, if only an empty one, OpenSSL does not stop to ask the terminal for it.
            context.load_cert_chain(str(tls.cert), str(tls.key) if tls.key else None, lambda: passphrase)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the files of {section} cannot be used: {error}",
            hint=f"Check {section}.ca, cert and key, and the key's passphrase ({section}.key_password).",
        ) from error
    return context


@cache
def unchecked_context() -> ssl.SSLContext:
    """Encrypts, and checks nothing; so no authority is read, which would take 50 ms of a processor each time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def certificate_refused(error: BaseException | None, where: str, section: str) -> CertificateRefused | None:
    """The error to raise when a handshake failed over a certificate; None when it failed over something else."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return CertificateRefused(
            f"{where} cannot be trusted: {error.verify_message}",
            hint=f"{section}.ca has to hold the authority that signed the server's certificate, and the certificate "
            "has to name the host as it is written in the url, and be valid today.",
        )
    reason = (error.reason or "") if isinstance(error, ssl.SSLError) else ""
    if "ALERT" in reason and ("CERT" in reason or "UNKNOWN_CA" in reason):
        return CertificateRefused(
            f"{where} does not take our certificate: {reason}",
            hint=f"{section}.cert and {section}.key have to be a pair signed by an authority that the server trusts.",
        )
    return None
