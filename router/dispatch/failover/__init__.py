"""Which deployment a request goes to after a failure: who shares the failure, and who has more context."""

from router.dispatch.failover.account import RefusedAccounts, account_of, host_of_server, log_refusal
from router.dispatch.failover.failover import Failover

__all__ = ["Failover", "RefusedAccounts", "account_of", "host_of_server", "log_refusal"]
