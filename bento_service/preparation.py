"""What has to be done once, before any worker starts: models brought in, the journal's schema up to date."""

import logging

from bento_service.bootstrap import open_catalogue
from bento_service.commands.models import prepare_in_subprocess
from bento_service.engines.factory import check_engine
from bento_service.errors import JournalTooNewError, JournalUnavailableError
from bento_service.journal.factory import migrate
from bento_service.settings import Settings

logger = logging.getLogger(__name__)


def prepare_deployment(settings: Settings) -> None:
    """Prepare the missing models and migrate the journal, so that workers find both done.

    What no worker could start with is refused here, once, rather than in each of them.

    Raises:
        EngineUnavailableError: The engine or the device of the settings is not there.
        CommandError: A model could not be prepared.
        JournalUrlError: The journal's URL is none that Lightbox can use.
        CacheUrlError: The cache's is.
        JournalTooNewError: A newer Lightbox wrote the journal.
    """
    check_engine(settings.engine, settings.device)
    missing = open_catalogue(settings.model_store).missing(settings.models)
    if missing:
        logger.info("Preparing %s: this happens once.", ", ".join(missing))
        prepare_in_subprocess(missing)
    if settings.cache_url is not None:
        from bento_service.cache.redis_store import check_url  # noqa: PLC0415 - most services have no use for redis-py

        check_url(settings.cache_url.get_secret_value())
    try:
        migrate(settings.resolved_journal_url)
    except JournalTooNewError:
        raise
    except JournalUnavailableError as error:
        logger.error("The journal cannot be used yet; receipts will wait for it: %s", error)
