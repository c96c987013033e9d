from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

NAME = "model.test"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority (ca.pem), and a certificate of model.test and 127.0.0.1 from it (server.pem)."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    openssl("req", "-x509", *new_key, "-subj", "/CN=Test authority", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(
        *(
            "req",
            "-x509",
            *new_key,
            "-subj",
            "/CN=server",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-keyout",
            "server.key",
        ),
        *("-addext", f"subjectAltName=DNS:{NAME},IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"),
        *("-out", "server.pem"),
    )
    return folder
