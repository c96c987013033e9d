"""`route` as the page calls it: each command runs in a fork of one process, which has imported what commands need.

A command goes on where its client is killed: send the signal to the process whose number the command prints.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import traceback

CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    asked = json.dumps([os.getcwd(), dict(os.environ), sys.argv[1:]]).encode()
    socket.send_fds(server, [len(asked).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(asked)
    sys.exit((server.recv(1) or b"\\1")[0])
"""


def main(path: str) -> None:
    """Run the commands of clients that connect to the socket at `path`, until the process ends."""
    import router.loading
    from router.commands import command

    command()
    assert router.loading
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        print("ready", flush=True)
        # So that children are not waited for.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            client, _ = listener.accept()
            with client:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    listener.close()
                    _run(client)


def _run(client: socket.socket) -> None:
    """Run one command, which ends the process."""
    from router.commands import main as route

    size, files, *_ = socket.recv_fds(client, 8, 3)
    folder, environment, arguments = json.loads(client.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["route", *arguments]
    code = 1
    try:
        route()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - where the interpreter would show it
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
            client.sendall(bytes([code & 255]))
        finally:
            os._exit(code & 255)


if __name__ == "__main__":
    main(sys.argv[1])
