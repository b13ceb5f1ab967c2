"""The rules of :class:`milepost.store.Store` as tests that any store can run.

Subclass it in a pytest suite and give it a ``store`` fixture::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self):
            return MyStore(max_value_bytes=StoreContract.LIMIT, retention=StoreContract.RETENTION)
"""

from milepost.testing.contracts.checkpoints import CheckpointContract
from milepost.testing.contracts.control import ControlContract
from milepost.testing.contracts.documents import DocumentsContract
from milepost.testing.contracts.endings import EndingContract
from milepost.testing.contracts.exchanging import ExchangeContract
from milepost.testing.contracts.leases import LeaseContract
from milepost.testing.contracts.limits import LimitsContract
from milepost.testing.contracts.listing import ListingContract
from milepost.testing.contracts.recovery import RecoveryContract
from milepost.testing.contracts.sharing import SharingContract
from milepost.testing.contracts.starting import StartingContract


class StoreContract(
    StartingContract,
    CheckpointContract,
    EndingContract,
    LeaseContract,
    ControlContract,
    ListingContract,
    RecoveryContract,
    SharingContract,
    DocumentsContract,
    LimitsContract,
    ExchangeContract,
):
    """Every rule of the contract; override ``elapse`` where the test owns the clock."""
