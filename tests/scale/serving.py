"""A driver that deploys the application of `deploy/ray_serve.py`, and deploys it again for every line that it reads.

`python -c "from tests.scale.serving import main; main()" CLUSTER PORT NAME=VALUE …`
"""

from __future__ import annotations

import sys


def main() -> None:
    """Serve until standard input ends."""
    import ray
    from ray import serve

    from deploy.ray_serve import application

    cluster, port, *named = sys.argv[1:]
    arguments = dict(text.split("=", 1) for text in named)
    ray.init(address=cluster, log_to_driver=False, logging_level="ERROR")
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    while True:
        serve.run(application(arguments), name="default")
        print("deployed", flush=True)
        line = sys.stdin.readline()
        if not line:
            break
        name, value = line.strip().split("=", 1)
        arguments[name] = value
    serve.shutdown()
