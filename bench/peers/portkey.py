"""Portkey's gateway, on Node."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from bench.gateway.contender import Contender
from bench.gateway.processes import Start, free_port
from bench.peers.environment import run

_VERSION = "1.15.2"
# Later releases of these do not run with it.
_OVERRIDES = {"hono": "4.9.7", "@hono/node-server": "1.13.0"}
# It listens on all interfaces, and has no setting for that.
_LOOPBACK = """\
const { Server } = require("net");
const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
  if (typeof port !== "number") return listen.call(this, port, ...rest);
  return listen.call(this, port, "127.0.0.1", ...rest.filter((argument) => typeof argument === "function"));
};
"""


class Portkey:
    name = f"Portkey {_VERSION}"
    key = "portkey"

    def install(self, folder: Path) -> None:
        """Install it from npm."""
        package = {"private": True, "dependencies": {"@portkey-ai/gateway": _VERSION}, "overrides": _OVERRIDES}
        (folder / "package.json").write_text(json.dumps(package))
        run(_program("npm"), "install", "--no-audit", "--no-fund", "--ignore-scripts", folder=folder)

    def contender(self, folder: Path, scratch: Path, upstream: int) -> Contender:
        """The gateway; request headers give it the URL of the upstream."""
        port, loopback = free_port(), scratch / "loopback.cjs"
        loopback.write_text(_LOOPBACK)
        server = folder / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        command = (_program("node"), "--require", str(loopback), str(server), f"--port={port}", "--headless")
        headers = {
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1",
            "authorization": "Bearer none",
        }
        start = Start(command, scratch, port, ("/",), {"NODE_ENV": "production"})
        return Contender(self.name, start, "bench", headers=headers)


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"{name} is not installed")
    return path
