"""Every attack, in the order in which they are played."""

import breaker  # noqa: F401 - each registers its attacks
import stale_answers  # noqa: F401
import cut_guesses  # noqa: F401
import unauthorized  # noqa: F401
import key_lookups  # noqa: F401
import places  # noqa: F401
import key_exchange  # noqa: F401
import admin_port  # noqa: F401
import logs  # noqa: F401
import slow_questions  # noqa: F401
import login_flood  # noqa: F401
import many_users  # noqa: F401
