"""All attacks, in the order in which they run."""

from bench.hostile.attack import Attack
from bench.hostile.attacks.bodies import BODIES
from bench.hostile.attacks.faults import FAULTS
from bench.hostile.attacks.heads import HEADS
from bench.hostile.attacks.money import MONEY
from bench.hostile.attacks.operators import OPERATORS
from bench.hostile.attacks.readers import READERS
from bench.hostile.attacks.tenants import TENANTS

ATTACKS: tuple[Attack, ...] = (*HEADS, *BODIES, *READERS, *MONEY, *FAULTS, *TENANTS, *OPERATORS)
