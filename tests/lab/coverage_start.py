# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have a Python on a host note which lines it runs; see ``runs._send``."""

import coverage

coverage.process_startup()
