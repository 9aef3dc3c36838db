# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks that all collections share, as antsibull-nox.toml asks for them; see `make nox`."""

import antsibull_nox
import nox

nox.options.envdir = ".build/nox"
antsibull_nox.load_antsibull_nox_toml()
