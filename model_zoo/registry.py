"""Application name to application: the explicit list of what the zoo holds."""

from __future__ import annotations

from edge.errors import UsageError
from model_zoo.shelf.spec import FIELD_FRACTION as SHELF_FIELD_FRACTION
from model_zoo.shelf.spec import shelf_application
from model_zoo.transfer.spec import FIELD_FRACTION as TRANSFER_FIELD_FRACTION
from model_zoo.transfer.spec import transfer_application
from model_zoo.types import Application

APPLICATIONS: dict[str, Application] = {"shelf": shelf_application(), "transfer": transfer_application()}

FIELD_FRACTIONS = {"shelf": SHELF_FIELD_FRACTION, "transfer": TRANSFER_FIELD_FRACTION}
"""Share of the known classes' training pictures that only the device sees at first, in demonstrations."""


def find_application(name: str) -> Application:
    """Looks an application up.

    Raises:
        UsageError: No such application; the hint names those there are.
    """
    application = APPLICATIONS.get(name)
    if application is None:
        raise UsageError(
            f"{name!r} is not an application of the model zoo", hint=f"there are {', '.join(APPLICATIONS)}"
        )
    return application
